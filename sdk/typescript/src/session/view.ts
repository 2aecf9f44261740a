/** What a device shows of the session in front of it, sealed under a key from the session's (docs/protocol.md §9). */

import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { decode, decodeExactly, encode, utf8, type Bytes } from "../base64url.js";
import { Refused } from "../refused.js";
import type { SessionKey } from "./key.js";

/** A sealed view. */
export interface SealedView {
  key_version: number;
  iv: string;
  ct: string;
}

/** Most bytes of a view. */
export const MAX_VIEW = 2046;
const SMALLEST = 256;

/** Seals what `device` shows of `session`. */
export async function sealView(session: string, device: string, key: SessionKey, iv: Bytes, view: Uint8Array): Promise<SealedView> {
  if (view.length > MAX_VIEW) throw new Refused("state.undecryptable", "too large");
  let size = SMALLEST;
  while (size < view.length + 2) size *= 2;
  const plain = new Uint8Array(size);
  new DataView(plain.buffer).setUint16(0, view.length);
  plain.set(view, 2);
  const ct = await crypto.subtle.encrypt(how(session, device, key.version, iv), await aead(key, "encrypt"), plain);
  return { key_version: key.version, iv: encode(iv), ct: encode(new Uint8Array(ct)) };
}

/** Opens what `device` is said to show of `session`. */
export async function openView(view: SealedView, session: string, device: string, key: SessionKey): Promise<Uint8Array> {
  if (key.version !== view.key_version) throw new Refused("state.undecryptable", "another key");
  let plain: Uint8Array;
  try {
    const [iv, ct] = [decodeExactly(view.iv, 12), decode(view.ct)];
    plain = new Uint8Array(await crypto.subtle.decrypt(how(session, device, key.version, iv), await aead(key, "decrypt"), ct));
  } catch {
    throw new Refused("state.undecryptable", "seal");
  }
  const length = plain.length < 2 ? Infinity : new DataView(plain.buffer).getUint16(0);
  if (length + 2 > plain.length || plain.subarray(length + 2).some((byte) => byte !== 0)) throw new Refused("state.undecryptable", "form");
  return plain.slice(2, length + 2);
}

function how(session: string, device: string, version: number, iv: Bytes): AesGcmParams {
  return { name: "AES-GCM", iv, additionalData: utf8(["baton/view/1", session, device, version].join("\n")) };
}

/** A key of its own: views are many, and use up none of what updates may be sealed under one. */
function aead(key: SessionKey, usage: "encrypt" | "decrypt"): Promise<CryptoKey> {
  const own = hkdf(sha256, key.bytes, undefined, utf8("baton/view/1"), 32);
  return crypto.subtle.importKey("raw", own as Bytes, "AES-GCM", false, [usage]);
}
