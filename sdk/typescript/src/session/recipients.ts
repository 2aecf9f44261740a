/** Who has the key of a session: every full device that has the person's sessions, and nobody who is out, whatever the broker says of it. */

import { Device, type Members } from "../device.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";
import { sealEnvelope } from "./envelope.js";
import { keyStatement, type SessionKey } from "./key.js";
import { makeEnvelope } from "./reading.js";
import type { Session } from "./session.js";

/** Whether nobody has its newest key who is out, as of the last minute. */
export async function isToItself(session: Session): Promise<boolean> {
  return isKept(session, await session.device.recentMembers());
}

/** A key after the newest, for those who may have it. */
export async function newKey({ device, id, chain }: Session): Promise<{ key: SessionKey; envelope: string; recipients: Set<string> }> {
  const key = { version: chain.keyVersion + 1, bytes: device.http.around.random(32) };
  return { key, ...(await makeEnvelope(device, await device.members(), id, key)) };
}

/** Brings in a new key. Its holder alone may. */
export async function rekey(session: Session): Promise<void> {
  const epoch = session.heldEpoch();
  const { key, envelope, recipients } = await newKey(session);
  const signed = await session.sign(epoch, { kind: "rekey", key_version: key.version, envelope: hash(envelope) });
  try {
    await session.take(await session.post("rekey", "session:write", { statement: signed.text, envelope }), signed);
  } catch (error) {
    if (!(error instanceof Refused) || !["handoff.statement", "handoff.forked"].includes(error.code)) throw error;
    // The answer to an earlier one may have been lost: then its key is there.
    await session.readOn();
    if (session.chain.keyVersion < key.version) throw error;
    return;
  }
  session.holdKey(key, recipients);
}

/** Keeps out who is out, and lets in who is new: looks at the log, once a minute at most. True when there is a new key. */
export async function lookAfterKey(session: Session): Promise<boolean> {
  const { device } = session;
  const members = await device.recentMembers();
  if (!isKept(session, members)) {
    await rekey(session);
    return true;
  }
  try {
    await letIn(session, members);
  } catch (error) {
    const isRecipient = (why: unknown): boolean => why instanceof Refused && why.code === "state.recipient";
    if (!isRecipient(error)) throw error;
    // Somebody of whom this device did not know is kept from it, or out; or the broker has not heard of a newcomer yet. Who may have it is looked
    // at anew, and once more with the next write: it holds up nobody's.
    await letIn(session, await device.members()).catch((other: unknown) => {
      if (!isRecipient(other)) throw other;
    });
  }
  return false;
}

function isKept({ device, chain, recipients }: Session, members: Members): boolean {
  const may = (did: string): boolean => members.live.includes(did) && (did === device.did || did === chain.holder || Device.syncs(members, did));
  return [...recipients].every(may);
}

/** Gives the key to members who lack it. */
async function letIn(session: Session, members: Members): Promise<void> {
  const { device, id, recipients } = session;
  const newcomers = Device.recipients(members, (member) => Device.syncs(members, member.device) && !recipients.has(member.device));
  if (device.tier !== "full" || newcomers.length === 0) return;
  const { key } = session;
  const statement = await keyStatement(key, id, members.head, device.signer);
  await session.post("envelopes", "session:write", { key_version: key.version, envelope: await sealEnvelope(statement, newcomers) });
  for (const { device: did } of newcomers) recipients.add(did);
}
