/** base64url without padding (RFC 7515 §2), strict: one byte string has exactly one form. */

import { Refused } from "./refused.js";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Bytes backed by memory of their own, as WebCrypto wants them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Encodes bytes, or a text's UTF-8. */
export function encode(input: Uint8Array | string): string {
  const bytes = typeof input === "string" ? utf8(input) : input;
  let out = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const [a = 0, b = 0, c = 0] = bytes.subarray(at, at + 3);
    const bits = (a << 16) | (b << 8) | c;
    const letters = Math.min(4, bytes.length - at + 1);
    for (let n = 0; n < letters; n++) out += ALPHABET[(bits >> (18 - 6 * n)) & 63];
  }
  return out;
}

/** Decodes the one canonical form; anything else is refused. */
export function decode(text: string): Bytes {
  const out = new Uint8Array(Math.floor((text.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const letter of text) {
    const value = ALPHABET.indexOf(letter);
    if (value < 0) throw new Refused("jose.invalid", "encoding");
    bits = (bits << 6) | value;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out[at++] = (bits >> held) & 255;
      bits &= (1 << held) - 1;
    }
  }
  // A lone letter carries no byte, and what is left over must be zero, or one value had several spellings.
  if (held >= 6 || bits !== 0) throw new Refused("jose.invalid", "encoding");
  return out;
}

/** Decodes exactly `length` bytes. */
export function decodeExactly(text: string, length: number): Bytes {
  const bytes = decode(text);
  if (bytes.length !== length) throw new Refused("jose.invalid", "encoding");
  return bytes;
}

/** A text's bytes. */
export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}
