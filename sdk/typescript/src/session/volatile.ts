/** What matters only now (a playback position, a pointer): said to whoever listens, sealed and signed as every update is, and kept by nobody. */

import { Refused } from "../refused.js";
import { readNeeds } from "./needs.js";
import type { Session } from "./session.js";
import { openUpdate, sealUpdate, type SealedUpdate } from "./update.js";

/** The newest that was said and heard of a session, of each device. */
export class Heard {
  readonly #last = new Map<string, { epoch: number; seq: number }>();

  seal({ id, device, chain, head, key }: Session, content: Uint8Array): Promise<SealedUpdate> {
    const { epoch } = chain;
    const last = this.#last.get(device.did);
    // By the clock, so that a device that starts anew does not begin behind what it said before.
    const seq = Math.max(device.http.seconds() * 1000, last?.epoch === epoch ? last.seq + 1 : 1);
    this.#last.set(device.did, { epoch, seq });
    const place = { session: id, epoch, seq, prev: head.hash, key_version: key.version, kind: "volatile" as const };
    // What the session needs is in its content, and takes room here.
    return sealUpdate(place, { content, needs: readNeeds(undefined) }, device.signer, key, device.http.around.random(12));
  }

  async open({ id, chain, recipients, key }: Session, update: SealedUpdate): Promise<Uint8Array | undefined> {
    if (update.session !== id || update.kind !== "volatile") throw new Refused("state.undecryptable", "elsewhere");
    if (update.epoch !== chain.epoch) throw new Refused("state.rollback", "of another epoch");
    if (update.key_version !== chain.keyVersion) throw new Refused("handoff.no_key", "no key");
    // A shared one's key is no limited device's but the holder's: whoever sealed this is a member, or was.
    const may = (by: string): boolean => !chain.released && (by === chain.holder || (chain.mode === "shared" && recipients.has(by)));
    const { by, content } = await openUpdate(update, key, may);
    const last = this.#last.get(by);
    if (last?.epoch === update.epoch && update.seq <= last.seq) return undefined;
    this.#last.set(by, { epoch: update.epoch, seq: update.seq });
    return content;
  }
}
