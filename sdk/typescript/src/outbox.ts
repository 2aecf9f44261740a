/** What a device says while it listens: the newest of each session, and not more often than anybody looks (docs/protocol.md §9, Volatile updates). */

import type { SealedUpdate } from "./session/update.js";

/** Milliseconds between two. */
const EVERY = 100;

interface Waiting {
  seal: () => Promise<SealedUpdate>;
  done: () => void;
  failed: (why: unknown) => void;
}

/** Give one to `listen`. While no stream is open the newest waits; nobody says whether it came. */
export class Outbox {
  readonly #waiting = new Map<string, Waiting>();
  #send: ((text: string) => void) | undefined;
  #busy = false;

  constructor(private readonly pause: (milliseconds: number) => Promise<void> = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))) {}

  /**
   * Says what `seal` seals (`session.volatile(..)`, `document.volatile()`) once it is its turn, in place of what still waits for the same session: of what changes
   * many times a second only what is sent is signed. Resolves when it was sent, or another took its place.
   */
  say(session: string, seal: () => Promise<SealedUpdate>): Promise<void> {
    this.#waiting.get(session)?.done();
    return new Promise((done, failed) => {
      this.#waiting.set(session, { seal, done, failed });
      void this.#work();
    });
  }

  /** @internal The stream that carries it from here on. */
  attach(send: (text: string) => void): void {
    this.#send = send;
    void this.#work();
  }

  /** @internal That stream is over; another one may be there already. */
  detach(send: (text: string) => void): void {
    if (this.#send === send) this.#send = undefined;
  }

  async #work(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    for (let next = this.#next(); next; next = this.#next()) {
      try {
        const update = await next.seal();
        this.#send?.(JSON.stringify({ type: "volatile", update }));
        next.done();
      } catch (why) {
        next.failed(why);
      }
      await this.pause(EVERY);
    }
    this.#busy = false;
  }

  #next(): Waiting | undefined {
    const [first] = this.#send ? this.#waiting : [];
    if (first) this.#waiting.delete(first[0]);
    return first?.[1];
  }
}
