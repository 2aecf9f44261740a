/** A device log as a client checks it: an append-only chain by one issuer key after another, which alone names who may receive keys (docs/protocol.md §5). */

import { decode } from "./base64url.js";
import { PublicKey, hash, type Jwk } from "./key.js";
import { verify, verifyBy } from "./jws.js";
import { Refused } from "./refused.js";
import type { Tier } from "./enrolment.js";

/** A device the log knows as enrolled. */
export interface Member {
  device: string;
  agreement: PublicKey;
  tier: Tier;
  clientId: string;
}

/** Where a log ends: its last entry's number and hash. */
export interface LogHead {
  n: number;
  hash: string;
}

/** A log that was read from its first entry. */
export interface DeviceLog {
  /** Who signs the next entry. */
  issuer: string;
  app: string;
  /** Hash of the first entry: the person, as this app sees them. */
  subject: string;
  /** Who signed entries before a root was replaced: none of them gets it back. */
  issuersBefore: readonly string[];
  head: LogHead;
  members: Member[];
  /** What a device may do, or could when it was taken out; `undefined` for one that was never let in. */
  tierOf(device: string): Tier | undefined;
}

/** Where an entry stands: its number and the hash of the one before. */
export interface Place {
  n: number;
  prev: string;
}

/** The text of the first entry. */
export function openEntry(iss: string, app: string, salt: string): string {
  return JSON.stringify({ v: 1, n: 0, op: "open", iss, app, salt });
}

/** The text of an entry that lets a device in. */
export function enrolEntry({ n, prev }: Place, device: string, agreement: PublicKey, tier: Tier, clientId: string): string {
  const { crv, kty, x, y } = agreement.jwk;
  return JSON.stringify({ v: 1, n, prev, op: "enrol", device, agreement_jwk: { crv, kty, x, y }, tier, client_id: clientId });
}

/** The text of an entry that changes what a device may do. */
export function tierEntry({ n, prev }: Place, device: string, tier: Tier): string {
  return JSON.stringify({ v: 1, n, prev, op: "tier", device, tier });
}

/** The text of an entry that says that a device has another credential. */
export function renewEntry({ n, prev }: Place, device: string): string {
  return JSON.stringify({ v: 1, n, prev, op: "renew", device });
}

/** The text of an entry that hands the log over to another root's issuer key, with a full device's consent. */
export function replaceRootEntry({ n, prev }: Place, to: string, consent: string): string {
  return JSON.stringify({ v: 1, n, prev, op: "replace_root", to, consent });
}

/** The text of an entry that takes a device out. */
export function revokeEntry({ n, prev }: Place, device: string): string {
  return JSON.stringify({ v: 1, n, prev, op: "revoke", device });
}

/** What a full device signs to let the log go on under another root's issuer key. */
export function rootConsent(log: string, from: string, to: string): { v: 1; log: string; from: string; to: string } {
  return { v: 1, log, from, to };
}

/** Whether a live full device of this log agrees that `to` replaces the issuer key it has now. Says which. */
export function needConsent(log: DeviceLog, to: string, consent: string): string {
  const { by, payloadHash } = verifyBy(consent, "baton-root-consent+jwt");
  PublicKey.fromDid(to);
  const right = to !== log.issuer && !log.issuersBefore.includes(to) && payloadHash === hash(JSON.stringify(rootConsent(log.subject, log.issuer, to)));
  if (!right || !log.members.some(({ device, tier }) => device === by && tier === "full")) throw new Refused("log.consent", "consent");
  return by;
}

/** Reads and checks a whole log. Each entry must be, letter for letter, what this version would write. An entry of a kind this version does not know is refused: it might take somebody out. */
export function readDeviceLog(entries: string[]): DeviceLog {
  // Everybody who was ever let in: nobody is let in twice.
  const seen = new Map<string, Member>();
  const before: string[] = [];
  const log: DeviceLog = { issuer: "", app: "", subject: "", head: { n: -1, hash: "" }, members: [], issuersBefore: before, tierOf: (device) => seen.get(device)?.tier };
  for (const entry of entries) {
    const { kid, claims, payloadHash } = verify(entry, "baton-log+jwt", (named) => {
      const did = log.issuer || (named ?? "").split("#")[0] || "";
      return PublicKey.fromDid(did);
    });
    const place = { n: log.head.n + 1, prev: log.head.hash };
    // An entry that hands the log over is by the one who had it.
    const by = log.issuer;
    if (place.n === 0) {
      const [iss, app, salt] = [text(claims["iss"]), text(claims["app"]), text(claims["salt"])];
      need(decode(salt).length === 16 && payloadHash === hash(openEntry(iss, app, salt)));
      [log.issuer, log.app, log.subject] = [iss, app, payloadHash];
    } else {
      need(payloadHash === hash(apply(log, seen, place, claims)));
    }
    need(kid === PublicKey.fromDid(by || log.issuer).url);
    if (by !== "" && by !== log.issuer) before.push(by);
    log.head = { n: place.n, hash: payloadHash };
  }
  need(entries.length > 0);
  return log;
}

/** Takes an entry in, and gives its text as this version would write it. */
function apply(log: DeviceLog, seen: Map<string, Member>, { n, prev }: Place, claims: Record<string, unknown>): string {
  if (claims["op"] === "replace_root") {
    const [to, consent] = [text(claims["to"]), text(claims["consent"])];
    needConsent(log, to, consent);
    log.issuer = to;
    return replaceRootEntry({ n, prev }, to, consent);
  }
  const device = text(claims["device"]);
  const known = log.members.find((member) => member.device === device);
  switch (claims["op"]) {
    case "enrol": {
      PublicKey.fromDid(device);
      need(!seen.has(device));
      const member = { device, agreement: PublicKey.fromJwk(claims["agreement_jwk"] as Jwk), tier: tierOf(claims), clientId: text(claims["client_id"]) };
      seen.set(device, member);
      log.members.push(member);
      return enrolEntry({ n, prev }, device, member.agreement, member.tier, member.clientId);
    }
    case "tier":
      need(known !== undefined);
      known.tier = tierOf(claims);
      return tierEntry({ n, prev }, device, known.tier);
    case "renew":
      need(known !== undefined);
      return renewEntry({ n, prev }, device);
    case "revoke":
      need(known !== undefined);
      log.members = log.members.filter((member) => member !== known);
      return revokeEntry({ n, prev }, device);
    default:
      throw new Refused("log.invalid", "invalid");
  }
}

function tierOf(claims: Record<string, unknown>): Tier {
  const tier = claims["tier"];
  need(tier === "full" || tier === "limited");
  return tier;
}

function text(value: unknown): string {
  need(typeof value === "string");
  return value;
}

function need(holds: boolean): asserts holds {
  if (!holds) throw new Refused("log.invalid", "invalid");
}

/** The fingerprint a device can show of an issuer key, beside the same on its person's page. */
export function issuerFingerprint(issuer: string): string {
  const hex = [...decode(hash(issuer)).subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return (hex.match(/.{4}/g) ?? []).join(" ");
}
