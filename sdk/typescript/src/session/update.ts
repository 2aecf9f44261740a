/** Updates under a seal: AES-256-GCM, the sender's signature inside, sizes rounded up to buckets (docs/protocol.md §7). */

import { decode, decodeExactly, encode, utf8, type Bytes } from "../base64url.js";
import type { Signer } from "../deviceKeys.js";
import { signBy, verifyBy } from "../jws.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";
import type { SessionKey } from "./key.js";
import { readNeeds, signedNeeds, type Needs } from "./needs.js";

/** Most bytes of content in one update. */
export const MAX_CONTENT = 192 * 1024;
/** And in a volatile one. */
export const MAX_VOLATILE = 3 * 1024;

/** Where a session's content stands. */
export interface Head {
  /** The epoch of the last update. */
  epoch: number;
  /** Its number; counts through all epochs. */
  seq: number;
  /** Its digest; the `open` statement's before the first. */
  hash: string;
}

/** Where an update belongs. All of it is authenticated, by the seal and by the signature inside. */
export interface Place {
  session: string;
  epoch: number;
  seq: number;
  prev: string;
  key_version: number;
  /** A `volatile` one matters only now and is kept by nobody: its number counts its writer's own, and `prev` is the head it is said over. */
  kind: "update" | "snapshot" | "volatile";
}

/** An update as the broker stores it. */
export interface SealedUpdate extends Place {
  iv: string;
  ct: string;
}

/** What is under a seal. */
export interface State {
  content: Uint8Array;
  /** What the session needs of a device. */
  needs: Needs;
}

/** Signs content for its place and seals both. `iv` must be fresh. */
export async function sealUpdate(place: Place, { content, needs }: State, signer: Signer, key: SessionKey, iv: Bytes): Promise<SealedUpdate> {
  if (content.length > (place.kind === "volatile" ? MAX_VOLATILE : MAX_CONTENT) || key.version !== place.key_version) throw new Refused("state.undecryptable", "too large, or another key");
  const jws = utf8(await signBy("baton-update+jwt", signer, signed(place, { content, needs })));
  const plain = new Uint8Array(bucket(8 + jws.length + content.length));
  const view = new DataView(plain.buffer);
  view.setUint32(0, jws.length);
  plain.set(jws, 4);
  view.setUint32(4 + jws.length, content.length);
  plain.set(content, 8 + jws.length);
  const ct = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: utf8(aad(place)) }, await aead(key, "encrypt"), plain);
  return { ...place, iv: encode(iv), ct: encode(new Uint8Array(ct)) };
}

/** Opens an update and checks its sender's signature over the very place it stands at. */
export async function openUpdate(update: SealedUpdate, key: SessionKey, isSender: (device: string) => boolean): Promise<{ by: string; content: Bytes; needs: Needs }> {
  const place = placeOf(update);
  const plain = await opened(update, place, key);
  const view = new DataView(plain.buffer);
  const part = (at: number): Bytes => {
    const length = at + 4 <= plain.length ? view.getUint32(at) : Infinity;
    if (at + 4 + length > plain.length) throw new Refused("state.undecryptable", "form");
    return plain.subarray(at + 4, at + 4 + length);
  };
  const jws = part(0);
  const content = part(4 + jws.length);
  if (plain.subarray(8 + jws.length + content.length).some((byte) => byte !== 0)) throw new Refused("state.undecryptable", "padding");
  const { by, claims, payloadHash } = verifyBy(new TextDecoder().decode(jws), "baton-update+jwt");
  if (!isSender(by)) throw new Refused("state.sender", "sender");
  const state = { content: content.slice(), needs: needsOf(claims["needs"]) };
  if (payloadHash !== hash(JSON.stringify(signed(place, state)))) throw new Refused("state.sender", "sender");
  return { by, ...state };
}

/** Digest of an update's ciphertext in its place: the next one's `prev`. */
export function updateHash(update: SealedUpdate): string {
  return hash(`${aad(placeOf(update))}\n${update.iv}\n${update.ct}`);
}

function placeOf({ session, epoch, seq, prev, key_version, kind }: Place): Place {
  return { session, epoch, seq, prev, key_version, kind };
}

function signed(place: Place, { content, needs }: State): object {
  return { v: 1, ...placeOf(place), content: hash(content), ...signedNeeds(needs) };
}

function needsOf(said: unknown): Needs {
  try {
    return readNeeds(said);
  } catch {
    throw new Refused("state.sender", "needs");
  }
}

function aad({ session, epoch, seq, prev, key_version, kind }: Place): string {
  return ["baton/update/1", session, epoch, seq, prev, key_version, { update: "Update", snapshot: "Snapshot", volatile: "Volatile" }[kind]].join("\n");
}

async function opened(update: SealedUpdate, place: Place, key: SessionKey): Promise<Bytes> {
  if (key.version !== place.key_version) throw new Refused("state.undecryptable", "another key");
  const how = { name: "AES-GCM", iv: decodeExactly(update.iv, 12), additionalData: utf8(aad(place)) };
  try {
    return new Uint8Array(await crypto.subtle.decrypt(how, await aead(key, "decrypt"), decode(update.ct)));
  } catch {
    throw new Refused("state.undecryptable", "seal");
  }
}

function aead(key: SessionKey, usage: "encrypt" | "decrypt"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", key.bytes, "AES-GCM", false, [usage]);
}

/** Powers of two from 1 KiB to 64 KiB, then whole 64 KiB. */
function bucket(length: number): number {
  const step = 64 * 1024;
  if (length > step) return Math.ceil(length / step) * step;
  let size = 1024;
  while (size < length) size *= 2;
  return size;
}
