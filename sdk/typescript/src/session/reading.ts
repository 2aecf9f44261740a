/** Reading a session: its chain, its keys and its updates, each checked against the device log. The broker is not believed. */

import { Device, type Members } from "../device.js";
import { unverifiedKid } from "../jws.js";
import { Refused } from "../refused.js";
import { Chain, checkAccepted, readStatement } from "./chain.js";
import { openEnvelope, sealEnvelope } from "./envelope.js";
import { keyStatement, readKey, type SessionKey } from "./key.js";
import { openUpdate, updateHash, type Head, type SealedUpdate } from "./update.js";

/** Whether the log ever let this device in. */
export const knows = (members: Members) => (device: string): boolean => members.tierOf(device) !== undefined;

/** Checks the broker's acceptance of a statement. */
export async function needAccepted(device: Device, accepted: string, session: string, of: string): Promise<void> {
  const key = await device.keyOf(device.kept.servers.broker, unverifiedKid(accepted));
  checkAccepted(accepted, key, session, of);
}

/** The chain: each statement accepted by the broker and made by a device of the log, claims by full ones alone. */
export async function readChain(device: Device, members: Members, session: string): Promise<Chain> {
  let chain: Chain | undefined;
  for (let from = 0; ; ) {
    const path = `/v1/sessions/${session}/statements?from=${from}`;
    const { statements } = await device.broker<{ statements: { statement: string; accepted: string }[] }>({ scope: "session:read", path });
    if (statements.length === 0) break;
    for (const row of statements) {
      const read = readStatement(row.statement);
      const { statement } = read;
      await needAccepted(device, row.accepted, session, read.hash);
      const tier = members.tierOf(statement.device);
      const may = statement.act.kind === "claim" ? tier === "full" : tier !== undefined;
      if (statement.session !== session || !may) throw new Refused("handoff.statement", "by nobody who may");
      if (chain) chain.apply(read);
      else chain = Chain.open(read);
    }
    from += statements.length;
  }
  if (chain?.subject !== device.subject) throw new Refused("handoff.statement", "another person's");
  return chain;
}

/** The keys this device can open, by version; each signed by a device of the log. */
export async function readKeys(device: Device, members: Members, session: string): Promise<Map<number, SessionKey>> {
  const keys = new Map<number, SessionKey>();
  const path = `/v1/sessions/${session}/envelopes`;
  const { envelopes } = await device.broker<{ envelopes: { key_version: number; envelope: string }[] }>({ scope: "session:read", path });
  for (const { key_version, envelope } of envelopes) {
    const opened = await openEnvelope(envelope, device.did, device.kept.keys.agreement.privateKey);
    if (opened !== undefined) keys.set(key_version, readKey(opened, session, key_version, knows(members)));
  }
  return keys;
}

/** The content after every update from `snapshot` on, and where it stands. */
export async function readContent(
  device: Device,
  members: Members,
  session: string,
  { chain, keys, snapshot }: { chain: Chain; keys: Map<number, SessionKey>; snapshot: number },
): Promise<{ head: Head; content: Uint8Array }> {
  let head: Head = { epoch: 1, seq: 0, hash: "" };
  let content = new Uint8Array();
  for (let after = Math.max(0, snapshot - 1); ; ) {
    const path = `/v1/sessions/${session}/updates?after=${after}`;
    const { updates } = await device.broker<{ updates: SealedUpdate[] }>({ scope: "session:read", path });
    if (updates.length === 0) return { head, content };
    for (const update of updates) {
      const follows = head.hash === "" || (update.prev === head.hash && update.seq === head.seq + 1);
      if (update.session !== session || !follows || update.epoch > chain.epoch) throw new Refused("state.rollback", "rollback");
      const key = keys.get(update.key_version);
      if (!key) throw new Refused("handoff.no_key", "no key");
      content = (await openUpdate(update, key, knows(members))).content;
      head = { epoch: update.epoch, seq: update.seq, hash: updateHash(update) };
      after = update.seq;
    }
  }
}

/** An envelope with a key for all live full devices and for one limited one: `to` that the session goes to, or this one. */
export async function makeEnvelope(device: Device, members: Members, session: string, key: SessionKey, to = device.did): Promise<string> {
  const recipients = Device.recipients(members, ({ device: one, tier }) => tier === "full" || one === to);
  return sealEnvelope(await keyStatement(key, session, members.head, device.signer), recipients);
}
