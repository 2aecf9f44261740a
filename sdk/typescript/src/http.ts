/** Requests as Baton's services want them: a DPoP proof (RFC 9449) over each, the server's nonce, bounded retries, typed refusals. */

import { encode, utf8 } from "./base64url.js";
import type { Signer } from "./deviceKeys.js";
import { hash } from "./key.js";
import { systemRandom, type Random } from "./random.js";
import { Refused } from "./refused.js";

/** Where the three services are: issuers and audiences, compared byte for byte. */
export interface Servers {
  identity: string;
  verifier: string;
  broker: string;
}

/** All three at one public URL, as `baton serve` runs them. */
export function serversAt(publicUrl: string): Servers {
  const base = publicUrl.replace(/\/+$/, "");
  return { identity: `${base}/identity`, verifier: `${base}/verifier`, broker: `${base}/broker` };
}

/** What is used of a WebSocket. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(): void;
}

/** What a client of the services stands on; each may be another in tests. */
export interface Surroundings {
  fetch: typeof fetch;
  /** Opens a WebSocket. Node 20 has none of its own: give it one, of the package `ws` for example. */
  socket: (url: string) => Socket;
  /** Unix milliseconds. */
  now: () => number;
  random: Random;
  /** Resolves after that many milliseconds. */
  pause: (milliseconds: number) => Promise<void>;
}

/** How long an answer may take: whoever waits longer may hold up other tabs. */
const LONGEST_WAIT = 30_000;

/** The ones of this browser or Node. */
export const surroundings: Surroundings = {
  fetch: (input, init) => fetch(input, { signal: AbortSignal.timeout(LONGEST_WAIT), ...init }),
  socket(url) {
    if (typeof WebSocket === "undefined") throw new Refused("unsupported", "no WebSocket here: see nodeSurroundings of @baton/sdk/node");
    return new WebSocket(url) as Socket;
  },
  now: () => Date.now(),
  random: systemRandom,
  pause: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};

/** One request. */
export interface Request {
  method: "GET" | "POST";
  /** The service's URL: nonces belong to it. */
  service: string;
  /** Below the service's URL. */
  path: string;
  form?: Record<string, string>;
  json?: object;
  /** Access token bound to the key that proves. */
  token?: string;
  /** For the service's own pages, which it knows by their cookie. */
  withCookie?: boolean;
}

const TRIES = 4;
const PAUSE = 200;
/** Answers of a gateway, or of a service that cannot answer just now. */
export const PASSING = [502, 503, 504];

/** Speaks to the services. Remembers the newest nonce of each, and how far this clock is off. */
export class Http {
  readonly #nonces = new Map<string, string>();
  /** How far this clock is behind each service's: none of them can set it for another. */
  readonly #offsets = new Map<string, number>();
  /** How often the time was learnt: what was signed before carries the old one. */
  corrections = 0;

  constructor(readonly around: Surroundings = surroundings) {}

  /** This device's idea of a service's time, or its own, in whole seconds. */
  seconds(service?: string): number {
    return Math.floor((this.around.now() + (this.#offsets.get(service ?? "") ?? 0)) / 1000);
  }

  /** Sends with a proof by `key`, learning the nonce, and once the time, from refusals that name them. */
  async proven(request: Request, key: Signer): Promise<unknown> {
    let { corrections } = this;
    let answer = await this.#persist(request, key);
    for (let again = 0; again < 3; again++) {
      // The time may have been learnt by another request meanwhile.
      const isLearnt = (): boolean => this.#learnTime(request.service, answer.date) || corrections !== this.corrections;
      if (answer.code !== "use_dpop_nonce" && !(answer.code === "invalid_dpop_proof" && isLearnt())) break;
      ({ corrections } = this);
      answer = await this.#persist(request, key);
    }
    return answer.give();
  }

  /** Sends without a proof. */
  async plain(request: Request): Promise<unknown> {
    return (await this.#persist(request)).give();
  }

  async #persist(request: Request, key?: Signer): Promise<Answer> {
    let last: unknown = undefined;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      if (attempt > 0) {
        const pause = PAUSE * 2 ** (attempt - 1);
        // Jitter, so that many who lost one server do not come back as one.
        await this.around.pause(pause / 2 + ((this.around.random(1)[0] ?? 0) / 255) * (pause / 2));
      }
      try {
        const answer = await this.#once(request, key);
        if (!PASSING.includes(answer.status)) return answer;
        last = answer.refusal();
      } catch (error) {
        last = new Refused("transport", error instanceof Error ? error.message : "unreachable");
      }
    }
    throw last;
  }

  async #once(request: Request, key: Signer | undefined): Promise<Answer> {
    const url = request.service + request.path;
    const headers = new Headers();
    if (key) headers.set("dpop", await this.proof(key, request));
    if (request.token !== undefined) headers.set("authorization", `DPoP ${request.token}`);
    const init: RequestInit = { method: request.method, headers, cache: "no-store", credentials: request.withCookie ? "include" : "omit", redirect: "error" };
    if (request.form) init.body = new URLSearchParams(request.form);
    if (request.json) {
      headers.set("content-type", "application/json");
      init.body = JSON.stringify(request.json);
    }
    const response = await this.around.fetch(url, init);
    const nonce = response.headers.get("dpop-nonce");
    if (nonce !== null) this.learnNonce(request.service, nonce);
    const text = await response.text();
    return new Answer(response.status, response.headers.get("date"), parsed(text));
  }

  /** @internal Keeps a nonce that a service gave. */
  learnNonce(service: string, nonce: string): void {
    this.#nonces.set(service, nonce);
  }

  /** @internal A proof by `key` for a request. */
  async proof(key: Signer, request: Request): Promise<string> {
    const nonce = this.#nonces.get(request.service);
    const claims = {
      jti: encode(this.around.random(16)),
      htm: request.method,
      htu: (request.service + request.path).split(/[?#]/)[0],
      iat: this.seconds(request.service),
      ...(request.token === undefined ? {} : { ath: hash(request.token) }),
      ...(nonce === undefined ? {} : { nonce }),
    };
    const header = { alg: "ES256", typ: "dpop+jwt", jwk: key.public.jwk };
    const input = `${encode(JSON.stringify(header))}.${encode(JSON.stringify(claims))}`;
    return `${input}.${encode(await key.sign(utf8(input)))}`;
  }

  #learnTime(service: string, date: string | null): boolean {
    const offset = date === null ? Number.NaN : Date.parse(date) - this.around.now();
    if (Number.isNaN(offset) || Math.abs(offset - (this.#offsets.get(service) ?? 0)) <= 3000) return false;
    this.#offsets.set(service, offset);
    this.corrections++;
    return true;
  }
}

class Answer {
  constructor(
    readonly status: number,
    readonly date: string | null,
    readonly body: unknown,
  ) {}

  get code(): string | undefined {
    if (this.status < 400) return undefined;
    const { code, error } = (this.body ?? {}) as { code?: unknown; error?: unknown };
    return typeof code === "string" ? code : typeof error === "string" ? error : "unknown";
  }

  refusal(): Refused {
    const members = typeof this.body === "object" ? (this.body as Record<string, unknown> | null) : null;
    return Refused.told(this.code ?? "unknown", "refused by the server", this.status, members ?? {});
  }

  give(): unknown {
    if (this.status >= 200 && this.status < 300) return this.body;
    throw this.refusal();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
