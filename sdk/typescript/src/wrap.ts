/** Wrapped copies of the root, format v1 (docs/protocol.md §2). Every version ever shipped opens for ever. */

import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { decodeExactly, encode, utf8, type Bytes } from "./base64url.js";
import { Refused } from "./refused.js";

/** Who can open a copy. */
export type Opener = { kind: "passkey"; credential_id: string; rp_id: string } | { kind: "recovery" };

/** A copy as it is stored: worthless without its opener. */
export interface WrappedRoot {
  v: 1;
  /** Fingerprint of the root inside. */
  root: string;
  opener: Opener;
  salt: string;
  iv: string;
  ct: string;
}

/** Seals a seed. */
export async function seal(seed: Bytes, secret: Bytes, root: string, opener: Opener, salt: Bytes, iv: Bytes): Promise<WrappedRoot> {
  const wrapped: WrappedRoot = { v: 1, root, opener, salt: encode(salt), iv: encode(iv), ct: "" };
  const key = await keyOf(wrapped, secret, "encrypt");
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: context(wrapped) }, key, seed);
  return { ...wrapped, ct: encode(new Uint8Array(sealed)) };
}

/** Opens a copy. The caller then compares the fingerprint of what came out with the one it expects. */
export async function open(wrapped: WrappedRoot, secret: Bytes): Promise<Bytes> {
  const key = await keyOf(wrapped, secret, "decrypt");
  try {
    if (wrapped.v !== 1) throw new Error();
    const iv = decodeExactly(wrapped.iv, 12);
    const seed = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: context(wrapped) }, key, decodeExactly(wrapped.ct, 48));
    return new Uint8Array(seed);
  } catch {
    throw new Refused("wrap.invalid", "invalid");
  }
}

async function keyOf(wrapped: WrappedRoot, secret: Bytes, use: KeyUsage): Promise<CryptoKey> {
  const passkey = wrapped.opener.kind === "passkey";
  // An authenticator that gives nothing, or nothing but zeros, opens nothing (WRP-04).
  if (passkey ? secret.length !== 32 || secret.every((byte) => byte === 0) : secret.length !== 16) throw new Refused("wrap.prf", "prf");
  const info = utf8(passkey ? "baton/wrap/1/passkey" : "baton/wrap/1/recovery");
  let salt: Bytes;
  try {
    salt = decodeExactly(wrapped.salt, 32);
  } catch {
    throw new Refused("wrap.invalid", "invalid");
  }
  const bytes = Uint8Array.from(hkdf(sha256, secret, salt, info, 32));
  const key = await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, [use]);
  bytes.fill(0);
  return key;
}

function context(wrapped: WrappedRoot): Bytes {
  const [id, rp] = wrapped.opener.kind === "passkey" ? [wrapped.opener.credential_id, wrapped.opener.rp_id] : ["recovery", ""];
  return utf8(["baton/wrap/1", wrapped.root, id, rp].join("\n"));
}
