/** Events of a person's sessions: contiguous, resumed by number, loud about gaps (docs/protocol.md §9). */

import type { Device } from "./device.js";
import { PASSING } from "./http.js";
import { Line, type Answer } from "./line.js";
import type { Outbox } from "./outbox.js";
import type { Present } from "./presence.js";
import type { Random } from "./random.js";
import { Refused } from "./refused.js";
import type { SealedUpdate } from "./session/update.js";

/** Something changed: what, by id alone. */
export interface SessionEvent {
  type: "event";
  /** Its number in the person's stream. */
  seq: number;
  /** Unix milliseconds, by the broker's clock. */
  at: number;
  /** What (docs/protocol.md §9): `session.updated`, `session.active`, `handoff.<state>`, `device.enrolled`, … */
  kind: string;
  session?: string;
  handoff?: string;
  /** The device that is meant, in `session.unfollow` and `device.switched`. */
  device?: string;
}

/** History is gone: read the resources anew. Events go on from `resume_at`. */
export interface Gap {
  type: "gap";
  resume_at: number;
}

/** The stream is open, for the first time or again: what is read from here on is not older than the next event. */
export interface Open {
  type: "open";
}

/** Who is there now, in place of what was told before: with {@link Listening.presence} alone. */
export interface PresenceFrame {
  type: "presence";
  devices: Present[];
}

/** What another device says of a session just now: `session.hear` or `document.hear` opens it. Nobody keeps it. */
export interface VolatileFrame {
  type: "volatile";
  update: SealedUpdate;
}

/** What this device said was not passed on. */
export interface RefusedFrame {
  type: "refused";
  session: string;
  seq: number;
  /** A stable code: `handoff.fenced`, `state.rekey_required`, … */
  code: string;
}

/** What a stream tells. */
export type Frame = SessionEvent | Gap | Open | PresenceFrame | VolatileFrame | RefusedFrame;

/** How to listen. */
export interface Listening {
  /** The last event that was seen; from now on, if none. */
  cursor?: number;
  /** Tells of the other devices as well; the device needs the scope `presence`. */
  presence?: boolean;
  /**
   * What this device says on the stream; it needs the scope `session:write`. With it the stream tells of what others say as well, and what is written into
   * sessions goes over it, without a proof for each.
   */
  outbox?: Outbox;
  /** Tells of what others say just now, where this device says nothing itself. */
  volatile?: boolean;
  /** What tells that the page is off the network, on one again, or shown again out of the browser's cache; the window, where there is one. */
  window?: Pick<Window, "addEventListener" | "removeEventListener">;
  /** Ends the stream. */
  signal?: AbortSignal;
}

/** The first pause is at most this long, each after it at most twice as long, and as random as can be: with less of it many would still come at about one time. */
const PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
const LONGEST_STREAM = 330_000;
const REVOKED = 4403;
const BROKEN = 1006;

/**
 * Listens until `signal` ends it or the device is revoked (`status.revoked`). Connections that break are made again, from the last event that was
 * seen, with pauses that grow; at once when the page is back: a laptop that was closed has a connection that died without a word. A page that is off the
 * network has none.
 */
export async function* listen(device: Device, listening: Listening = {}): AsyncGenerator<Frame, void> {
  const network = new Network(listening.window);
  try {
    yield* connections(device, listening, network);
  } finally {
    network.stop();
  }
}

const NETWORK_EVENTS = ["pageshow", "online", "offline"];

/** Tells that a page is gone from the network, or back: what connection it had is not to be trusted either way. */
class Network {
  readonly #window: Listening["window"];
  #acts = new Set<(isBack: boolean) => void>();
  readonly #tell = ({ type }: Event): void => {
    for (const act of this.#acts) act(type !== "offline");
  };

  constructor(window = "addEventListener" in globalThis ? (globalThis as unknown as Listening["window"]) : undefined) {
    this.#window = window;
    for (const event of NETWORK_EVENTS) window?.addEventListener(event, this.#tell);
  }

  /** Runs `act` each time, until what is given is called. */
  on(act: (isBack: boolean) => void): () => void {
    this.#acts.add(act);
    return () => this.#acts.delete(act);
  }

  stop(): void {
    for (const event of NETWORK_EVENTS) this.#window?.removeEventListener(event, this.#tell);
  }
}

async function* connections(device: Device, listening: Listening, network: Network): AsyncGenerator<Frame, void> {
  const { signal } = listening;
  let last = listening.cursor;
  let pause = PAUSE;
  while (!signal?.aborted) {
    let isBack = false;
    let woken = (): void => undefined;
    const back = new Promise<void>((resolve) => (woken = resolve));
    const forget = network.on((now) => {
      isBack ||= now;
      if (now) woken();
    });
    const began = device.http.around.now();
    try {
      for await (const frame of connection(device, last, listening, network)) {
        // It came back before this one: that is done.
        if (frame.type === "open") isBack = false;
        if (frame.type === "event") {
          pause = PAUSE;
          if (last !== undefined && frame.seq <= last) continue;
          // A number left out is a gap that the broker did not own up to.
          if (last !== undefined && frame.seq !== last + 1) yield { type: "gap", resume_at: frame.seq };
          last = frame.seq;
        } else if (frame.type === "gap") {
          last = frame.resume_at - 1;
        }
        yield frame;
      }
    } catch (error) {
      const passes = error instanceof Refused && (["transport", "limit.streams"].includes(error.code) || PASSING.includes(error.status ?? 0));
      if (!passes) throw error;
    }
    const { around } = device.http;
    // One that ended with its token is no failure.
    if (around.now() - began > LONGEST_PAUSE) pause = PAUSE;
    // Jitter, so that many who lost one server do not come back as one.
    if (!isBack) await Promise.race([around.pause(pause * share(around.random)), back]);
    forget();
    pause = isBack ? PAUSE : Math.min(pause * 2, LONGEST_PAUSE);
  }
}

/** From nothing to all. */
function share(random: Random): number {
  const [high = 0, low = 0] = random(2);
  return (high * 256 + low) / 65535;
}

async function* connection(device: Device, cursor: number | undefined, { presence, outbox, volatile = outbox !== undefined, signal }: Listening, network: Network): AsyncGenerator<Frame, void> {
  const ask = (scope: string): Promise<{ ticket: string }> => device.broker({ scope, path: "/v1/events/tickets", json: {} });
  // Who joined before it asked for presence is told of the rest all the same.
  const least = outbox ? "session:read session:write" : "session:read";
  let scope = presence ? `${least} presence` : least;
  const { ticket } = await ask(scope).catch((error: unknown) => {
    if (!presence || !(error instanceof Refused) || error.code !== "invalid_scope") throw error;
    scope = least;
    return ask(scope);
  });
  if (signal?.aborted) return;
  const query = new URLSearchParams({ ticket, ...(cursor === undefined ? {} : { cursor: String(cursor) }), ...(volatile ? { volatile: "true" } : {}) });
  const socket = device.http.around.socket(`${device.kept.servers.broker.replace(/^http/, "ws")}/v1/events?${query}`);
  const frames: Frame[] = [];
  let closed: number | undefined;
  let wake = (): void => undefined;
  // Whoever ends it may never ask for the next frame: nothing of it is to stay.
  const close = (): void => {
    clearTimeout(broken);
    end();
    socket.close();
  };
  const tell = (frame: Frame): void => {
    frames.push(frame);
    wake();
  };
  const send = (text: string): void => socket.send(text);
  const line = new Line(device, scope, send, () => {
    clearTimeout(broken);
    broken = setTimeout(() => socket.close(), LONGEST_STREAM);
  });
  const end = (): void => {
    outbox?.detach(send);
    line.end();
    device.lines.delete(line);
  };
  socket.onopen = () => {
    outbox?.attach(send);
    if (outbox) device.lines.add(line);
    void (outbox ? line.show() : line.showLater());
    tell({ type: "open" });
  };
  socket.onmessage = ({ data }) => {
    line.isAlive();
    const frame = read(String(data));
    if (frame && isAnswer(frame)) line.hear(frame);
    else if (frame) tell(frame);
    else if (frame === undefined) socket.close();
  };
  // A close follows, which says all that is told.
  socket.onerror = () => undefined;
  socket.onclose = ({ code }) => {
    closed = code;
    end();
    wake();
  };
  // A stream ends with its token, which lives five minutes. One that does not has broken without a word.
  let broken = setTimeout(() => socket.close(), LONGEST_STREAM);
  signal?.addEventListener("abort", close);
  // Whoever waits for a dead connection to say that it is closed waits long.
  const forget = network.on(() => {
    close();
    closed ??= BROKEN;
    wake();
  });
  try {
    for (;;) {
      const frame = frames.shift();
      if (frame) yield frame;
      else if (closed === REVOKED) throw new Refused("status.revoked", "revoked");
      else if (closed !== undefined) return;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    signal?.removeEventListener("abort", close);
    forget();
    close();
  }
}

function isAnswer(frame: Exclude<Frame, Open> | Answer): frame is Answer {
  return ["written", "unwritten", "renewed", "unrenewed"].includes(frame.type);
}

/** `undefined` when it is none; `null` when it is one of a later version, which is passed over. */
function read(text: string): Exclude<Frame, Open> | Answer | null | undefined {
  try {
    const frame = JSON.parse(text) as Record<"type" | "seq" | "resume_at" | "devices" | "update" | "code" | "hash" | "until", unknown>;
    const forms: Record<string, boolean> = {
      event: Number.isInteger(frame.seq),
      gap: Number.isInteger(frame.resume_at),
      presence: Array.isArray(frame.devices),
      volatile: typeof frame.update === "object" && frame.update !== null,
      refused: typeof frame.code === "string",
      written: typeof frame.hash === "string",
      unwritten: typeof frame.hash === "string",
      renewed: Number.isInteger(frame.until),
      unrenewed: typeof frame.code === "string",
    };
    if (typeof frame.type !== "string") return undefined;
    if (!Object.hasOwn(forms, frame.type)) return null;
    return forms[frame.type] ? (frame as unknown as Exclude<Frame, Open> | Answer) : undefined;
  } catch {
    return undefined;
  }
}
