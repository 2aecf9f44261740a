/** Reading a session: its chain, its keys and its updates, each checked against the device log. The broker is not believed. */

import { Device, type Members } from "../device.js";
import { unverifiedKid } from "../jws.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";
import type { Pin } from "../store.js";
import { Chain, checkAccepted, readStatement } from "./chain.js";
import { openEnvelope, recipientsOf, sealEnvelope } from "./envelope.js";
import { keyStatement, readKey, type SessionKey } from "./key.js";
import { readNeeds, type Needs } from "./needs.js";
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

/** The keys this device can open, and who was given the newest. */
export interface Keys {
  keys: Map<number, SessionKey>;
  recipients: Set<string>;
  /** Digests of envelopes outside the chain that were taken while who added them was live. */
  added: Set<string>;
}

/**
 * An envelope counts when the chain names it, or when a full device that was live when it was first seen added it for a newcomer; others are passed over.
 * No version ever has two keys: `known` are those this device has had before.
 */
export async function readKeys(device: Device, members: Members, chain: Chain, known: Map<number, SessionKey>, pin: Pin | undefined): Promise<Keys> {
  const found: Keys = { keys: new Map(known), recipients: new Set(), added: new Set(pin?.added) };
  const [newest, wanted] = [chain.keyVersion, new Set(chain.envelopesOf(chain.keyVersion))];
  const adds = (by: string): boolean => members.live.includes(by) && members.tierOf(by) === "full";
  const path = `/v1/sessions/${chain.session}/envelopes`;
  const { envelopes } = await device.broker<{ envelopes: { key_version: number; envelope: string }[] }>({ scope: "session:read", path });
  const rows = envelopes.map(({ key_version: version, envelope }) => {
    const digest = hash(envelope);
    return { version, envelope, digest, outside: !chain.envelopesOf(version).includes(digest) };
  });
  // Those of the chain first: what they bring stands.
  for (const { version, envelope, digest, outside } of rows.sort((a, b) => Number(a.outside) - Number(b.outside))) {
    if (version === newest) {
      for (const recipient of recipientsOf(envelope)) found.recipients.add(recipient);
      wanted.delete(digest);
    }
    try {
      const opened = await openEnvelope(envelope, device.did, device.kept.keys.agreement.privateKey);
      if (opened === undefined) continue;
      const key = readKey(opened, chain.session, version, outside && !found.added.has(digest) ? adds : knows(members));
      const before = found.keys.get(version);
      if (before && !equal(before.bytes, key.bytes)) throw new Refused("state.sender", "another key under the same version");
      found.keys.set(version, key);
      if (outside) found.added.add(digest);
    } catch (error) {
      if (!outside) throw error;
    }
  }
  // Left out, it would hide who has the key.
  if (wanted.size > 0) throw new Refused("state.rollback", "an envelope is missing");
  return found;
}

/** What reading the content needs to know. */
export interface Reading {
  chain: Chain;
  keys: Map<number, SessionKey>;
  /** Where reading begins. */
  snapshot: number;
  /** What was seen before. */
  pin: Pin | undefined;
}

/** What reading the content gives. */
export interface Read {
  head: Head;
  content: Uint8Array;
  needs: Needs;
  /** Other devices that wrote what this one had not seen. */
  wrote: Set<string>;
  /** How many updates there are after the last snapshot. */
  sinceSnapshot: number;
  /** Number of the last that is content. */
  used: number;
  /** Who wrote the last of them. */
  lastBy: string | undefined;
  /** In a shared session, what devices that are out wrote last and this one had not seen: no part of the content. */
  beside: { device: string; epoch: number; content: Uint8Array; counts: false }[];
  /** The last of that, as it stands in the session: it goes beside it before anything is written over it. */
  aside: SealedUpdate | undefined;
}

/** The content after every update from the last snapshot on, and where it stands. */
export async function readContent(device: Device, members: Members, reading: Reading): Promise<Read> {
  const { chain, snapshot, pin } = reading;
  // In a shared session what this device has seen must still be there, also before a snapshot that another made.
  const seen = chain.mode === "shared" && pin ? Math.min(pin.used ?? pin.seq, snapshot) : snapshot;
  const { isRead, ...read } = await readAfter(device, members, reading, Math.max(0, seen - 1));
  if (isRead || read.beside.length === 0) return read;
  // All of that is of devices that are out: then what was before it, and where nothing was, theirs.
  const all = await readAfter(device, members, reading, 0);
  const last = all.isRead ? undefined : all.beside.pop();
  return { ...all, ...(last ? { content: last.content, used: all.head.seq, aside: undefined } : {}) };
}

/** Reads all updates after this one. */
async function readAfter(device: Device, members: Members, { chain, keys, snapshot, pin }: Reading, from: number): Promise<Read & { isRead: boolean }> {
  let head: Head = { epoch: 1, seq: 0, hash: chain.first };
  let content = new Uint8Array();
  let needs = readNeeds(undefined);
  const isShared = chain.mode === "shared";
  let after = from;
  let isRead = false;
  // Who is out has an old key at most.
  let version = 1;
  const wrote = new Set<string>();
  let sinceSnapshot = 0;
  let used = 0;
  let lastBy: string | undefined;
  let beside: Read["beside"] = [];
  let aside: SealedUpdate | undefined;
  const isMember = (one: string): boolean => members.tierOf(one) === "full";
  // Where nothing can have been forgotten, the first update follows the chain's first statement.
  let last: Head | undefined = snapshot <= 1 && from === 0 ? head : undefined;
  for (;;) {
    const path = `/v1/sessions/${chain.session}/updates?after=${after}`;
    const { updates } = await device.broker<{ updates: SealedUpdate[] }>({ scope: "session:read", path });
    if (updates.length === 0) {
      chain.needEnd(head);
      return { head, content, needs, wrote, sinceSnapshot, used, lastBy, beside, aside, isRead };
    }
    for (const update of updates) {
      const at: Head = { epoch: update.epoch, seq: update.seq, hash: updateHash(update) };
      const follows = last === undefined || (update.prev === last.hash && update.seq === last.seq + 1 && update.epoch >= last.epoch);
      const pinned = pin?.seq !== at.seq || pin.hash === at.hash;
      const isOne = update.session === chain.session && update.key_version >= version && update.kind !== "volatile";
      if (!isOne || !follows || !pinned) throw new Refused("state.rollback", "rollback");
      const key = keys.get(update.key_version);
      if (!key) throw new Refused("handoff.no_key", "no key");
      const opened = await openUpdate(update, key, knows(members));
      chain.needUpdate(opened.by, at, isMember);
      if (opened.by !== device.did && at.seq > (pin?.seq ?? 0)) wrote.add(opened.by);
      lastBy = opened.by;
      // Whoever is out may have sealed it yesterday or just now, and a broker that is with them shows either. What they wrote in good time is in what others wrote
      // after it; the last of it is for the person to look at.
      const isNew = at.seq > (pin?.used ?? pin?.seq ?? 0);
      const isOut = isShared && isNew && !members.live.includes(opened.by) && chain.holderAt(at.epoch) !== opened.by;
      aside = isOut ? update : undefined;
      if (isOut) beside = [{ device: opened.by, epoch: at.epoch, content: opened.content, counts: false }];
      else {
        ({ content, needs } = opened);
        beside = [];
        isRead = true;
        used = at.seq;
      }
      version = update.key_version;
      sinceSnapshot = update.kind === "snapshot" ? 0 : sinceSnapshot + 1;
      head = last = at;
      after = at.seq;
    }
  }
}

/** An envelope with a key for all live full devices and for one limited one: `to` that the session goes to, or this one. */
export async function makeEnvelope(device: Device, members: Members, session: string, key: SessionKey, to = device.did): Promise<{ envelope: string; recipients: Set<string> }> {
  const recipients = Device.recipients(members, ({ device: one }) => Device.syncs(members, one) || one === to);
  const envelope = await sealEnvelope(await keyStatement(key, session, members.head, device.signer), recipients);
  return { envelope, recipients: new Set(recipients.map((member) => member.device)) };
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
