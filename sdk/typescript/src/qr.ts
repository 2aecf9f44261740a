/** What the QR code, or the link, of a device that asks says (docs/protocol.md §4.2). Nothing is fetched to read it. */

import { Refused } from "./refused.js";

/** Which request it is, and of which keys. */
export interface Scanned {
  userCode: string;
  /** Names the device's keys: what is approved must be of these. */
  keys?: string;
}

const LONGEST = 512;
// Codes of consonants, and the digest of both keys (RFC 8628 §6.1, protocol §4.2).
const SAID = /^#([BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4})(?:\.([\w-]{43}))?$/;

/** Reads it. It must be a link to the approving pages at the origin `pages`, written the one way devices write it; anything else is `input.qr`. */
export function readVerificationUri(text: string, pages: string): Scanned {
  const place = `${new URL(pages).origin}/device`;
  const said = text.length <= LONGEST && text.startsWith(place) ? SAID.exec(text.slice(place.length)) : null;
  if (!said) throw new Refused("input.qr", "no link of a device");
  const [, userCode = "", keys] = said;
  return { userCode, ...(keys === undefined ? {} : { keys }) };
}
