/** Session keys: in statements signed by who made them, inside JWE envelopes for the devices that may have them (docs/protocol.md §7). */

import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { decodeExactly, encode, utf8, type Bytes } from "../base64url.js";
import type { Signer } from "../deviceKeys.js";
import type { LogHead } from "../deviceLog.js";
import { signBy, verifyBy } from "../jws.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";

/** A session key of one version; versions count from 1. */
export interface SessionKey {
  version: number;
  bytes: Bytes;
}

/** The plaintext of an envelope: ECDH-ES alone proves no sender, so it is signed. */
export function keyStatement(key: SessionKey, session: string, head: LogHead, signer: Signer): Promise<string> {
  return signBy("baton-key+jwt", signer, statement(key, session, head));
}

/** Reads an opened envelope: by a device `isSender` accepts, for this session and version. */
export function readKey(jws: string, session: string, version: number, isSender: (device: string) => boolean): SessionKey {
  const { by, claims, payloadHash } = verifyBy(jws, "baton-key+jwt");
  const head = (claims["log_head"] ?? {}) as Partial<LogHead>;
  const text = claims["key"];
  if (!isSender(by) || typeof text !== "string" || !Number.isInteger(head.n) || typeof head.hash !== "string") throw new Refused("state.sender", "sender");
  const key = { version, bytes: decodeExactly(text, 32) };
  // Letter for letter what this version would write: nothing in it goes unread.
  if (payloadHash !== hash(JSON.stringify(statement(key, session, head as LogHead)))) throw new Refused("state.sender", "sender");
  return key;
}

/** What a receipt proves: that the target opened the very plaintext. The broker cannot compute it. */
export function receiptProof(key: SessionKey, release: string, content: Uint8Array): string {
  const secret = hkdf(sha256, key.bytes, undefined, utf8("baton/receipt/1"), 32);
  return encode(hmac(sha256, secret, Uint8Array.of(...utf8(release), ...sha256(content))));
}

function statement(key: SessionKey, session: string, { n, hash }: LogHead): object {
  return { v: 1, session, version: key.version, key: encode(key.bytes), log_head: { n, hash } };
}
