/** A session as the broker has it, read with all checks and held against what this device saw before. */

import type { Device } from "../device.js";
import { Refused } from "../refused.js";
import type { Pin } from "../store.js";
import type { Chain } from "./chain.js";
import type { SessionKey } from "./key.js";
import { readChain, readContent, readKeys, type Keys, type Read } from "./reading.js";

/** What is known of a session. */
export interface Known extends Keys, Read {
  chain: Chain;
  /** The epoch at which this device holds it. */
  held: number | undefined;
  /** The last snapshot's number, as the broker says. */
  snapshot: number;
  /**
   * Whether this device has seen two histories of it, and writes nothing into either: `known`, this is the one it knew; else the last statement of that one,
   * and this is the broker's.
   */
  fork: undefined | "known" | { other: string };
  /** The last statement that this device had seen of another history, which is over. */
  over: string | undefined;
  /** And its document has not been brought over yet. */
  wasOther: boolean;
}

/** How to read it. */
export interface Reading {
  /** The keys of a history, as far as its last statement that is known. */
  known?: { last: string; keys: Map<number, SessionKey> };
  /** Reads another history than this device knew as well. */
  other?: boolean;
}

/** Chain and acceptances, keys from members of the log, every update after the last snapshot. */
export async function load(device: Device, id: string, reading: Reading): Promise<Known> {
  try {
    return await loadOnce(device, id, reading);
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "state.rollback") throw error;
    // The session may have moved on between its chain and its content: then another look finds both together.
    return loadOnce(device, id, reading);
  }
}

async function loadOnce(device: Device, id: string, { known, other = false }: Reading): Promise<Known> {
  const shown = await device.broker<{ holder: string | null; last_snapshot: number | null }>({ scope: "session:read", path: `/v1/sessions/${id}` });
  const members = await device.members();
  const chain = await readChain(device, members, id);
  const mayEnd = (by: string): boolean => members.live.includes(by) && members.tierOf(by) === "full";
  const look = async (): Promise<{ pin: Pin | undefined; fork: { other: string } | undefined; over: string | undefined }> => {
    const pin = await device.pin(id);
    if (!pin || chain.continues(pin.chain)) return { pin, fork: undefined, over: undefined };
    // What was seen of another history says nothing about this one.
    if (chain.hasEnded(pin.chain, mayEnd)) return { pin: undefined, fork: undefined, over: pin.chain };
    if (!other) throw new Refused("handoff.forked", "another chain than was seen before");
    return { pin: undefined, fork: { other: pin.chain }, over: undefined };
  };
  // Before its keys: those of another history are not these.
  await look();
  const before = known && chain.continues(known.last) ? known.keys : new Map<number, SessionKey>();
  const keys = await readKeys(device, members, chain, before, await device.pin(id));
  // Looked at last: what another tab has seen meanwhile is what counts.
  const { pin, fork, over } = await look();
  const snapshot = shown.last_snapshot ?? 0;
  const read = await readContent(device, members, { chain, keys: keys.keys, snapshot, pin });
  if (pin && read.head.seq < pin.seq) throw new Refused("state.rollback", "rollback");
  const holds = chain.holder === device.did && !chain.released && shown.holder === device.did && !fork;
  const wasOther = over !== undefined || pin?.wasOther === true;
  return { ...keys, ...read, chain, held: holds ? chain.epoch : undefined, snapshot, fork, over, wasOther };
}
