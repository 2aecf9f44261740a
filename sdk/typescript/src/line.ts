/** What a device asks for on its stream: that an update is kept, and to go on with another token (docs/protocol.md §9). */

import type { Device } from "./device.js";
import { updateHash, type SealedUpdate } from "./session/update.js";

/** Longest frame that a broker takes, in bytes: what does not fit is posted. */
const MOST = 16 * 1024;
/** How long an answer is waited for, in milliseconds. */
const PATIENCE = 3000;

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
      clearTimeout(this.#renewal);
      this.#renewal = setTimeout(() => {
        this.#tries = 0;
        void this.show();
      }, Math.max(until - this.device.http.seconds() + 1, 1) * 1000);
    } catch {
      // It ends with the token it has, and another is opened.
    }
  }

  /** Writes an update: true when it is known to stand in its session. */
  async write(update: SealedUpdate): Promise<boolean> {
    const text = JSON.stringify({ type: "update", update });
    if (!this.#isProven || this.#isOver || text.length > MOST) return false;
    const hash = updateHash(update);
    const late = setTimeout(() => this.#tell(hash, false), PATIENCE);
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
