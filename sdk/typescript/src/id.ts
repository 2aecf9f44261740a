/** Ids that a client makes: a prefix and a UUIDv7 (RFC 9562 §5.7). */

import type { Random } from "./random.js";

/** A new id from a time in Unix milliseconds and ten random bytes. */
export function newId(prefix: "ses" | "hof", now: number, random: Random): string {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.trunc(now)) << 16n);
  bytes.set(random(10), 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return `${prefix}_${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
