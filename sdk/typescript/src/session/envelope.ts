/**
 * Key envelopes: JWE General JSON, ECDH-ES+A256KW and A256GCM, one recipient for each device (docs/protocol.md §7). The only module that knows `jose`.
 * What is opened is read strictly first: nothing but the profile's form reaches the library.
 */

import { GeneralEncrypt, generalDecrypt, generateKeyPair, importJWK, type GeneralJWE } from "jose";
import { decode, decodeExactly, utf8 } from "../base64url.js";
import { PublicKey, didUrl } from "../key.js";
import { Refused } from "../refused.js";

const PROTECTED = { alg: "ECDH-ES+A256KW", enc: "A256GCM", typ: "baton-key+jwe" };
const MAX_RECIPIENTS = 64;
const MAX_ENVELOPE = 64 * 1024;

/** Seals a signed key statement to devices, each under its agreement key from the device log. */
export async function sealEnvelope(statement: string, recipients: { device: string; agreement: PublicKey }[]): Promise<string> {
  if (recipients.length === 0 || recipients.length > MAX_RECIPIENTS) throw new Refused("state.recipient", "recipients");
  const jwe = new GeneralEncrypt(utf8(statement)).setProtectedHeader(PROTECTED);
  for (const { device, agreement } of recipients) {
    jwe.addRecipient(await importJWK({ ...agreement.jwk }, PROTECTED.alg)).setUnprotectedHeader({ kid: didUrl(device) });
  }
  // For a lone recipient the library writes `epk` into the shared header: with a second one, whose key nobody has, the form is always the same.
  jwe.addRecipient((await generateKeyPair(PROTECTED.alg)).publicKey);
  const { protected: header, recipients: sealed, iv, ciphertext, tag } = await jwe.encrypt();
  return JSON.stringify({ protected: header, recipients: sealed.slice(0, -1), iv, ciphertext, tag });
}

/** Who an envelope is sealed to. */
export function recipientsOf(envelope: string): string[] {
  return read(envelope).recipients.map((recipient) => String(recipient.header?.["kid"]).split("#")[0] ?? "");
}

/** Opens an envelope for one device; `undefined` when it is sealed to others. */
export async function openEnvelope(envelope: string, device: string, agreement: CryptoKey): Promise<string | undefined> {
  const jwe = read(envelope);
  const kid = didUrl(device);
  const mine = jwe.recipients.filter((recipient) => recipient.header?.["kid"] === kid);
  if (mine.length === 0) return undefined;
  if (mine.length > 1) throw new Refused("state.recipient", "twice");
  try {
    const how = { keyManagementAlgorithms: [PROTECTED.alg], contentEncryptionAlgorithms: [PROTECTED.enc] };
    const { plaintext } = await generalDecrypt({ ...jwe, recipients: mine }, agreement, how);
    return new TextDecoder("utf-8", { fatal: true }).decode(plaintext);
  } catch {
    throw new Refused("state.undecryptable", "envelope");
  }
}

function read(envelope: string): GeneralJWE {
  try {
    return strictly(envelope);
  } catch (error) {
    throw error instanceof Refused && error.code === "state.alg" ? error : new Refused("state.undecryptable", "form");
  }
}

function strictly(envelope: string): GeneralJWE {
  const jwe = object(envelope.length <= MAX_ENVELOPE ? envelope : "");
  need(has(jwe, ["protected", "recipients", "iv", "ciphertext", "tag"]));
  const header = object(new TextDecoder().decode(decode(text(jwe["protected"]))));
  if (!has(header, Object.keys(PROTECTED)) || Object.entries(PROTECTED).some(([name, value]) => header[name] !== value)) {
    throw new Refused("state.alg", "algorithms of another profile");
  }
  decodeExactly(text(jwe["iv"]), 12);
  decodeExactly(text(jwe["tag"]), 16);
  need(decode(text(jwe["ciphertext"])).length > 0);
  const recipients = jwe["recipients"];
  need(Array.isArray(recipients) && recipients.length <= MAX_RECIPIENTS);
  for (const recipient of recipients as Record<string, unknown>[]) {
    need(has(recipient, ["header", "encrypted_key"]));
    decodeExactly(text(recipient["encrypted_key"]), 40);
    const own = recipient["header"] as Record<string, unknown>;
    need(has(own, ["kid", "epk"]) && typeof own["kid"] === "string");
    PublicKey.fromJwk(own["epk"] as object);
  }
  return jwe as unknown as GeneralJWE;
}

/** Has these members and no other. */
function has(value: unknown, members: string[]): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.keys(value).length === members.length && members.every((name) => name in value);
}

function object(json: string): Record<string, unknown> {
  const value: unknown = JSON.parse(json);
  need(typeof value === "object" && value !== null);
  return value as Record<string, unknown>;
}

function text(value: unknown): string {
  need(typeof value === "string");
  return value;
}

function need(holds: boolean): asserts holds {
  if (!holds) throw new Refused("state.undecryptable", "form");
}

