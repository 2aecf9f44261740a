/** What lies beside a session: what came too late for it. The broker is not believed. */

import type { Members } from "../device.js";
import { Refused } from "../refused.js";
import { knows } from "./reading.js";
import type { Session } from "./session.js";
import { openUpdate, type SealedUpdate } from "./update.js";

/** Most late updates that are read: more than a broker keeps of sixteen devices. */
const MOST_BRANCHES = 4096;

/** A late update kept beside a session. */
export interface Branch {
  /** Who wrote it; of one that this device cannot read, who the broker says did. */
  device: string;
  epoch: number;
  /** Nothing when this device cannot read it: it was enrolled after that key, or it is no update at all. */
  content: Uint8Array | undefined;
  /** Whether its device is still one of the person's, and might write then. What anybody else left is for the person to look at, and no more. */
  counts: boolean;
}

/** Reads them all. */
export async function readBranches(session: Session): Promise<Branch[]> {
  const members = await session.device.members();
  const out: Branch[] = [];
  for (let [at, from] = [0, ""]; ; ) {
    const path = `/v1/sessions/${session.id}/branches?at=${at}&hash=${from}`;
    const { branches } = await session.device.broker<{ branches: { at: number; hash: string; device: string; update: SealedUpdate }[] }>({ scope: "session:read", path });
    if (branches.length === 0) return out;
    for (const row of branches) {
      // A broker that goes in circles is not followed.
      const onward = row.at > at || (row.at === at && row.hash > from);
      if (!onward || out.length >= MOST_BRANCHES) throw new Refused("unsupported", "branches");
      out.push(await readBranch(session, members, row));
      [at, from] = [row.at, row.hash];
    }
  }
}

/** One that cannot be read keeps nobody from the others. */
async function readBranch(session: Session, members: Members, { device, update }: { device: string; update: SealedUpdate }): Promise<Branch> {
  const { epoch } = update;
  try {
    if (update.session !== session.id || update.kind === "volatile") throw new Refused("state.undecryptable", "elsewhere");
    const key = session.keys.get(update.key_version);
    if (!key) throw new Refused("handoff.no_key", "no key");
    const { by, content } = await openUpdate(update, key, knows(members));
    const holder = session.chain.holderAt(epoch);
    const isMember = session.chain.mode === "shared" && members.tierOf(by) === "full";
    const might = holder === by || (isMember && holder !== undefined);
    return { device: by, epoch, content, counts: might && members.live.includes(by) };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { device, epoch, content: undefined, counts: false };
  }
}
