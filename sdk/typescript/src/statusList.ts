/** Token Status List, two bits for each credential: read whole, so that nobody learns who is asked about (docs/protocol.md §5). */

import { decode } from "./base64url.js";
import { verify } from "./jws.js";
import type { PublicKey } from "./key.js";
import { Refused, type Code } from "./refused.js";

const AHEAD = 5;
const MAX_INFLATED = 1 << 20;

/** A list that was signed by whom it should be and is not stale. */
export interface StatusList {
  /** When it was signed, in seconds: a later look must not be given an older list. */
  iat: number;
  /** Refuses anything but "valid" at this index. */
  needValid(idx: number): void;
}

/** Checks the token of the list at `uri`. `notBefore` is the newest `iat` seen of it: an older list is a rollback. */
export async function readStatusList(token: string, uri: string, key: PublicKey, notBefore: number, now: number): Promise<StatusList> {
  const { sub, iat, exp, ttl, status_list } = claimsOf(token, key);
  const { bits, lst } = (status_list ?? {}) as { bits?: unknown; lst?: unknown };
  const whole = [iat, exp, ttl].every((time) => Number.isInteger(time)) && Number(ttl) >= 0;
  if (sub !== uri || bits !== 2 || typeof lst !== "string" || !whole || Number(iat) > now + AHEAD) throw refused("status.invalid", "token");
  if (Math.min(Number(exp), Number(iat) + Number(ttl)) <= now || Number(iat) < notBefore) throw refused("status.stale", "stale");
  const bytes = await inflate(decode(lst));
  return {
    iat: Number(iat),
    needValid(idx) {
      const byte = bytes[Math.floor(idx / 4)];
      if (byte === undefined) throw refused("status.invalid", "index");
      const status = (byte >> ((idx % 4) * 2)) & 3;
      if (status !== 0) throw refused(status === 1 ? "status.revoked" : status === 2 ? "status.suspended" : "status.invalid", "not valid");
    },
  };
}

function claimsOf(token: string, key: PublicKey): Record<string, unknown> {
  try {
    return verify(token, "statuslist+jwt", () => key).claims;
  } catch {
    throw refused("status.invalid", "token");
  }
}

/** Bounded: a list that grows past what any of ours has is not read to its end. */
async function inflate(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const out = new Uint8Array(MAX_INFLATED);
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => Promise.reject(refused("status.invalid", "form")));
    if (done) return out.subarray(0, length);
    if (length + value.length > MAX_INFLATED) {
      await reader.cancel();
      throw refused("status.invalid", "too long");
    }
    out.set(value, length);
    length += value.length;
  }
}

function refused(code: Code, reason: string): Refused {
  return new Refused(code, reason);
}
