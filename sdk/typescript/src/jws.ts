/** Strict compact JWS: ES256 alone, one `typ` for each use. */

import { decode, decodeExactly, encode, utf8 } from "./base64url.js";
import type { Signer } from "./deviceKeys.js";
import { PublicKey, hash, type SoftKey } from "./key.js";
import { Refused } from "./refused.js";

/** The `typ` of what this SDK signs or reads; docs/protocol.md §1 has them all. */
export type Typ =
  | "dc+sd-jwt"
  | "kb+jwt"
  | "statuslist+jwt"
  | "oauth-authz-req+jwt"
  | `baton-${"log" | "account" | "issuer" | "root" | "root-request" | "root-consent" | "statement" | "offer" | "update" | "key" | "accepted"}+jwt`;

const MAX_TOKEN = 64 * 1024;
const MAX_HEADER = 4096;
/** Key names are DID URLs or the servers' own short names. */
const KID = /^(?!.*\.\.)[A-Za-z0-9:#\-_.%]{1,256}$/;
const FORBIDDEN = ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip"];

/** Signs the exact text of a payload. */
export function signText(typ: Typ, key: SoftKey, payload: string): string {
  const header = JSON.stringify({ alg: "ES256", typ, kid: key.public.url });
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${encode(key.sign(utf8(input)))}`;
}

/** Signs claims. */
export function sign(typ: Typ, key: SoftKey, claims: object): string {
  return signText(typ, key, JSON.stringify(claims));
}

/** What a device signs of its own: claims under its DID URL, by a key that may not be readable. */
export async function signBy(typ: Typ, signer: Signer, claims: object): Promise<string> {
  const input = `${encode(JSON.stringify({ alg: "ES256", typ, kid: signer.public.url }))}.${encode(JSON.stringify(claims))}`;
  return `${input}.${encode(await signer.sign(utf8(input)))}`;
}

/** A token whose signature holds. */
export interface Verified {
  /** The key's name, if it was given. */
  kid: string | undefined;
  claims: Record<string, unknown>;
  /** Digest of the payload: what names this token's content. */
  payloadHash: string;
}

/** Verifies a token of kind `typ`. `keyOf` finds the key by the header's `kid`, which proves nothing by itself. */
export function verify(token: string, typ: Typ, keyOf: (kid: string | undefined) => PublicKey): Verified {
  const parts = token.split(".");
  const [head, body, signature] = parts;
  if (token.length > MAX_TOKEN || parts.length !== 3 || !head || body === undefined || signature === undefined) throw new Refused("jose.invalid", "form");
  const decoded = decode(head);
  if (decoded.length > MAX_HEADER) throw new Refused("jose.invalid", "limit");
  const header = strictJson(decoded);
  if (header["alg"] !== "ES256") throw new Refused("jose.invalid", "alg");
  if (FORBIDDEN.some((name) => name in header)) throw new Refused("jose.invalid", "header");
  if (header["typ"] !== typ) throw new Refused("jose.invalid", "typ");
  const kid = header["kid"];
  if (kid !== undefined && (typeof kid !== "string" || !KID.test(kid))) throw new Refused("jose.invalid", "kid");
  if (!keyOf(kid).verifies(utf8(`${head}.${body}`), decodeExactly(signature, 64))) throw new Refused("jose.invalid", "sig");
  const payload = decode(body);
  return { kid, claims: strictJson(payload), payloadHash: hash(payload) };
}

/** Verifies what a device signed under its own DID URL; says which. */
export function verifyBy(token: string, typ: Typ): Verified & { by: string } {
  let by = "";
  const verified = verify(token, typ, (kid) => {
    by = (kid ?? "").split("#")[0] ?? "";
    const key = PublicKey.fromDid(by);
    if (kid !== key.url) throw new Refused("jose.invalid", "kid");
    return key;
  });
  return { ...verified, by };
}

/** The key a token names, unproven: to find who might have signed it. */
export function unverifiedKid(token: string): unknown {
  return strictJson(decode(token.split(".")[0] ?? ""))["kid"];
}

/** A JSON object in UTF-8 that names no member twice. */
export function strictJson(bytes: Uint8Array): Record<string, unknown> {
  let text = "";
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw new Refused("jose.invalid", "json");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value) || written(text) !== members(value)) throw new Refused("jose.invalid", "json");
  return value as Record<string, unknown>;
}

/** How many members a JSON text writes. */
function written(text: string): number {
  return [...text.matchAll(/"(?:[^"\\]|\\.)*"\s*(:?)/g)].filter((match) => match[1] === ":").length;
}

/** How many members came out: fewer than were written when one was named twice (RFC 8725 §2.4). */
function members(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce((sum: number, one) => sum + members(one), own);
}
