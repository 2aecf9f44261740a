/** What a device asks for on its stream: that an update is kept, and to go on with another token (docs/protocol.md §9). */

import type { Device } from "./device.js";
import { updateHash, type SealedUpdate } from "./session/update.js";

/** Longest frame that a broker takes, in bytes: what does not fit is posted. */
const MOST = 16 * 1024;
/** How long an answer is waited for, and how long after a token that was not to be had it is tried again, in milliseconds. */
const PATIENCE = 3000;
const AGAIN = 10_000;
/** Over how long renewals are spread of streams that were opened at the same time: a server that was away has them all back at once. */
const SPREAD = 15_000;

/** An answer to what was asked. */
export type Answer =
  | { type: "written"; hash: string }
  | { type: "unwritten"; hash: string }
  | { type: "renewed" }
  | { type: "unrenewed"; code: string; nonce?: string };

/** One stream's. */
export class Line {
  readonly #asked = new Map<string, (stands: boolean) => void>();
  #isProven = false;
  #renewal: ReturnType<typeof setTimeout> | undefined;
  #tries = 0;
  /** An answer did not come, and nothing has since. */
  #isSilent = false;
  #isOver = false;

  constructor(
    private readonly device: Device,
    /** What its token is for. */
    private readonly scope: string,
    private readonly send: (text: string) => void,
    /** Tells that the stream goes on. */
    private readonly goesOn: () => void,
  ) {}

  /** Shows the token and its key: what is written here wants them, and a ticket is neither. */
  async show(): Promise<void> {
    const service = this.device.kept.servers.broker;
    this.#tries++;
    try {
      const { token, until } = await this.device.tokenUntil(service, this.scope);
      const proof = await this.device.http.proof(this.device.signer, { method: "GET", service, path: "/v1/events", token });
      if (this.#isOver) return;
      this.send(JSON.stringify({ type: "renew", token, proof }));
      this.#showNext(until);
    } catch {
      this.#again(AGAIN);
    }
  }

  /** Shows the next token alone: where nothing is written, the ticket says enough until then. */
  async showLater(): Promise<void> {
    try {
      this.#showNext((await this.device.tokenUntil(this.device.kept.servers.broker, this.scope)).until);
    } catch {
      this.#again(AGAIN);
    }
  }

  /** One that has next to no time left is the last, and the stream ends with it. */
  #showNext(until: number): void {
    const left = until - this.device.http.seconds();
    const spread = ((this.device.http.around.random(1)[0] ?? 0) / 255) * SPREAD;
    if (left > 0) this.#again((left + 1) * 1000 + spread);
  }

  /** Shows another token after a while. */
  #again(milliseconds: number): void {
    clearTimeout(this.#renewal);
    if (this.#isOver) return;
    this.#renewal = setTimeout(() => {
      this.#tries = 0;
      void this.show();
    }, milliseconds);
  }

  /** Writes an update: true when it is known to stand in its session. */
  async write(update: SealedUpdate): Promise<boolean> {
    const text = JSON.stringify({ type: "update", update });
    const hash = updateHash(update);
    if (!this.#isProven || this.#isOver || this.#isSilent || text.length > MOST || this.#asked.has(hash)) return false;
    const late = setTimeout(() => {
      this.#isSilent = true;
      this.#tell(hash, false);
    }, PATIENCE);
    try {
      return await new Promise<boolean>((resolve) => {
        this.#asked.set(hash, resolve);
        this.send(text);
      });
    } catch {
      return false;
    } finally {
      this.#asked.delete(hash);
      clearTimeout(late);
    }
  }

  /** Something came: whatever it is, the stream is not dead. */
  isAlive(): void {
    this.#isSilent = false;
  }

  /** Takes in an answer. */
  hear(answer: Answer): void {
    if (this.#isOver) return;
    if (answer.type === "written" || answer.type === "unwritten") {
      this.#tell(answer.hash, answer.type === "written");
    } else if (answer.type === "renewed") {
      this.#isProven = true;
      this.goesOn();
    } else if (answer.nonce !== undefined && this.#tries < 2) {
      this.device.http.learnNonce(this.device.kept.servers.broker, answer.nonce);
      void this.show();
    }
  }

  /** Nothing comes any more. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#renewal);
    for (const hash of [...this.#asked.keys()]) this.#tell(hash, false);
  }

  #tell(hash: string, stands: boolean): void {
    this.#asked.get(hash)?.(stands);
  }
}
