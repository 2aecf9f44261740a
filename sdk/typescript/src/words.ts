/** `@baton/sdk/words`: a root's fingerprint as words that a person can compare. Apart, because the list is long. */

import { wordlist } from "@scure/bip39/wordlists/english.js";
import { decodeExactly } from "./base64url.js";

const BITS = 11;
const COUNT = 6;

/** The first 66 bits as six words of the BIP-39 list: whoever would make another root with the same words needs 2^66 tries. */
export function fingerprintWords(fingerprint: string): string[] {
  const number = decodeExactly(fingerprint, 32).reduce((n, byte) => (n << 8n) | BigInt(byte), 0n);
  return Array.from({ length: COUNT }, (_, place) => {
    const shift = BigInt(256 - BITS * (place + 1));
    return wordlist[Number((number >> shift) & BigInt(2 ** BITS - 1))] ?? "";
  });
}
