/** What the person is shown, what is signed for them, and what goes back (docs/protocol.md §4). Types as in schemas/enrolment-*.json. */

import { decode, encode } from "./base64url.js";
import { readCredential } from "./credential.js";
import { enrolEntry, openEntry, readDeviceLog, renewEntry, tierEntry, type DeviceLog } from "./deviceLog.js";
import { PublicKey, hash, type Jwk, type SoftKey } from "./key.js";
import { sign, signText } from "./jws.js";
import { systemRandom, type Random } from "./random.js";
import { Refused } from "./refused.js";
import type { Root } from "./root.js";

/** The device-binding credential's type. */
export const VCT = "urn:baton:vct:device-binding:1";
/** Longest life of a credential. */
export const LONGEST_LIFE_SECS = 366 * 24 * 3600;

/** What a device may do by itself. */
export type Tier = "full" | "limited";

/** How a device asks: on itself, or from another one with a check code. */
export type Lane = "same_device" | "cross_device";

/** What a device is; anything else is refused. */
export type DeviceKind = "phone" | "tablet" | "laptop" | "desktop" | "tv" | "watch" | "car" | "browser" | "other";

/** What a device says of itself; not evidence. */
export interface DeviceClaims {
  name: string;
  kind: DeviceKind;
  platform?: string;
  model?: string;
  capabilities?: string[];
}

/** Everything the person decides by. */
export interface Shown {
  request: string;
  lane: Lane;
  app: string;
  client_name: string;
  client_id: string;
  scope: string;
  tier: Tier;
  claims: DeviceClaims;
  /** Why the app asks, in its own words; not evidence. */
  reason?: string;
  jkt: string;
  seen_address: string;
  requested_at: number;
}

/** The credential's claims in clear. */
export interface Visible {
  iss: string;
  sub: string;
  vct: string;
  iat: number;
  exp: number;
  client_id: string;
  tier: Tier;
  log: string;
  status: { status_list: { idx: number; uri: string } };
  status_issuer: string;
}

/** The claims of a credential, and the key it binds. */
export interface ToSign {
  template: { visible: Visible; disclosable: Record<string, unknown> };
  device_jwk: Jwk;
}

/** What identity asks to be signed. */
export interface Offer extends ToSign {
  request: string;
  shown_hash: string;
  /** Payloads of the log entries, as exact JSON texts. */
  entries: string[];
}

/** What goes back. */
export interface Approval {
  shown_hash: string;
  credential: string;
  entries: string[];
  issuer_statement?: string;
}

/** Hash of exactly what was shown: the members in the order in which identity sent them. */
export function shownHash(shown: Shown): string {
  return hash(JSON.stringify(shown));
}

/** Names both keys of a device: what its QR code carries, so that a page can tell whether it is shown this very device. */
export function keysHash(signing: PublicKey, agreement: PublicKey): string {
  return hash(`${signing.thumbprint}.${agreement.thumbprint}`);
}

/** How to approve. */
export interface Approving {
  random?: Random;
  /** The app's log as identity has it, to go on from; none when this device opens it. Checked under the issuer key before anything is signed. */
  log?: string[];
  /** The identity service: the one whose status lists are named. */
  identity?: string;
  /** {@link keysHash} as the device itself showed it: nothing is signed for other keys, whatever the server says. */
  keys?: string;
}

/** Signs what was shown, and only that: the offer must be about the very request, device, client, tier and app on the screen. */
export function approve(root: Root, shown: Shown, offer: Offer, { random = systemRandom, keys, log, identity }: Approving = {}): Approval {
  const issuer = root.issuer(shown.app);
  try {
    const opens = checkOffer(shown, offer, issuer);
    need(keys === undefined || keys === keysHash(PublicKey.fromJwk(offer.device_jwk), agreementOf(offer)));
    if (log !== undefined) {
      need(opens === (log.length === 0));
      if (!opens) needNext(offer, logOf(log, issuer, shown.app));
    }
    if (identity !== undefined) needStatusOf(identity, offer.template.visible);
    const approval = signed(offer, issuer, random);
    if (opens) approval.issuer_statement = issuerStatement(root, shown.app, issuer.public.did);
    return approval;
  } finally {
    issuer.forget();
  }
}

/** "This is my issuer for that app", by the account key. */
export function issuerStatement(root: Root, app: string, iss: string): string {
  return sign("baton-issuer+jwt", root.account, { v: 1, app, iss });
}

/** What is signed anew, and what shows that it is this person's. All of it is checked under the issuer key: a server's word for it is worth nothing. */
export interface Known {
  app: string;
  /** The device the person chose. */
  device: string;
  /** Its credential as it is. */
  credential: string;
  /** The app's whole log. */
  log: string[];
}

/** Signs a credential anew for a device of the log that the person chose: with the claims it has, of the tier it has, or raised to full. */
export function signAnew(root: Root, known: Known, raise: boolean, offer: Offer, random: Random = systemRandom): Approval {
  const issuer = root.issuer(known.app);
  try {
    const log = logOf(known.log, issuer, known.app);
    const tier = raise ? "full" : log.tierOf(known.device);
    need(tier !== undefined);
    needAnew(log, known.device, known.credential, offer, log.issuer, tier);
    needNext(offer, log);
    const place = { n: log.head.n + 1, prev: log.head.hash };
    need(offer.entries[0] === (raise ? tierEntry(place, known.device, tier) : renewEntry(place, known.device)));
    return signed(offer, issuer, random);
  } finally {
    issuer.forget();
  }
}

/** What is to be signed for a device is what was signed for it before, by the log's issuer so far, and what the log says of it; its issuer and its tier are these. */
export function needAnew(log: DeviceLog, did: string, credential: string, offer: ToSign, issuer: string, tier: Tier): void {
  const member = log.members.find(({ device }) => device === did);
  const before = claimsOf(credential);
  need(member !== undefined && readCredential(credential).key.did === did && before.clear["iss"] === log.issuer);
  const { visible, disclosable } = offer.template;
  need(PublicKey.fromJwk(offer.device_jwk).did === did && visible.sub === did && visible.iss === issuer);
  need(visible.client_id === member.clientId && visible.tier === tier && visible.log === log.subject);
  need(same(disclosable, before.disclosed) && agreementOf(offer).equals(member.agreement));
  const { status } = before.clear as { status?: Visible["status"] };
  need(visible.status_issuer === before.clear["status_issuer"] && visible.status.status_list.uri === status?.status_list.uri);
  checkTimes(visible);
}

/** What a device said of itself when it was let in, as the person signed it. */
export function signedName(credential: string): string {
  return String(claimsOf(credential).disclosed["name"] ?? "");
}

function claimsOf(credential: string): { clear: Record<string, unknown>; disclosed: Record<string, unknown> } {
  const [jwt = "", ...disclosures] = credential.split("~").filter((part) => part !== "");
  const json = (text: string): unknown => JSON.parse(new TextDecoder().decode(decode(text)));
  const named = disclosures.map((text) => (json(text) as [string, string, unknown]).slice(1) as [string, unknown]);
  return { clear: json(jwt.split(".")[1] ?? "") as Record<string, unknown>, disclosed: Object.fromEntries(named) };
}

/** The log of this very issuer and app. */
export function logOf(entries: string[], issuer: SoftKey, app: string): DeviceLog {
  const log = readDeviceLog(entries);
  need(log.issuer === issuer.public.did && log.app === app);
  return log;
}

/** One entry, the next of this log. */
function needNext(offer: Offer, log: DeviceLog): void {
  const [text = "", ...more] = offer.entries;
  const { n, prev } = JSON.parse(text) as { n?: unknown; prev?: unknown };
  need(more.length === 0 && n === log.head.n + 1 && prev === log.head.hash && offer.template.visible.log === log.subject);
}

/** Status is asked of this identity service and of nobody else. */
function needStatusOf(identity: string, { status, status_issuer }: Visible): void {
  const { host, pathname } = new URL(identity);
  need(status.status_list.uri.startsWith(`${identity}/`) && status_issuer === `did:web:${encodeURIComponent(host)}${pathname.replaceAll("/", ":")}`);
}

function signed(offer: Offer, issuer: SoftKey, random: Random): Approval {
  return {
    shown_hash: offer.shown_hash,
    credential: signCredential(offer, issuer, random),
    entries: offer.entries.map((text) => signText("baton-log+jwt", issuer, text)),
  };
}

function agreementOf(offer: ToSign): PublicKey {
  return PublicKey.fromJwk(offer.template.disclosable["agreement_jwk"] as Jwk);
}

function checkTimes({ vct, iat, exp }: Visible): void {
  need(vct === VCT && Number.isInteger(iat) && Number.isInteger(exp));
  need(exp > iat && exp - iat <= LONGEST_LIFE_SECS);
}

/** The device credential: an SD-JWT VC (RFC 9901) with a fresh 128-bit salt for each disclosure, digests sorted. */
export function signCredential(offer: ToSign, issuer: SoftKey, random: Random): string {
  const disclosures = Object.entries(offer.template.disclosable).map(([name, value]) =>
    encode(JSON.stringify([encode(random(16)), name, value])),
  );
  const { iss, sub, vct, iat, exp, client_id, tier, log, status, status_issuer } = offer.template.visible;
  const { idx, uri } = status.status_list;
  // By name: nothing is signed that this version does not know.
  const claims = {
    ...{ iss, sub, vct, iat, exp, client_id, tier, log, status: { status_list: { idx, uri } }, status_issuer },
    cnf: { jwk: PublicKey.fromJwk(offer.device_jwk).jwk },
    _sd: disclosures.map((disclosure) => hash(disclosure)).sort(),
    _sd_alg: "sha-256",
  };
  return [sign("dc+sd-jwt", issuer, claims), ...disclosures, ""].join("~");
}

/** Whether the offer is about what was shown. True when it opens the app's log. */
function checkOffer(shown: Shown, offer: Offer, issuer: SoftKey): boolean {
  const { visible, disclosable } = offer.template;
  const device = PublicKey.fromJwk(offer.device_jwk);
  const { agreement_jwk: _agreement, enrolled_at: _at, ...claimed } = disclosable;
  need(offer.request === shown.request && offer.shown_hash === shownHash(shown));
  need(device.thumbprint === shown.jkt && visible.sub === device.did && visible.iss === issuer.public.did);
  need(visible.client_id === shown.client_id && visible.tier === shown.tier);
  need(shown.tier === (shown.lane === "same_device" ? "full" : "limited"));
  need(same(claimed, shown.claims));
  checkTimes(visible);
  // The key that sessions are sealed to is the one the credential names: a server cannot put its own into the log alone.
  const agreement = agreementOf(offer);
  const enrol = (n: number, prev: string): string => enrolEntry({ n, prev }, visible.sub, agreement, visible.tier, visible.client_id);
  // Each entry is, letter for letter, what this version would write.
  const [first = "", second, ...more] = offer.entries;
  const entry = JSON.parse(first) as { n?: unknown; prev?: unknown; salt?: unknown };
  if (second === undefined) {
    need(typeof entry.n === "number" && entry.n > 0 && typeof entry.prev === "string" && first === enrol(entry.n, entry.prev));
    return false;
  }
  need(typeof entry.salt === "string" && decode(entry.salt).length === 16 && more.length === 0);
  need(first === openEntry(issuer.public.did, shown.app, entry.salt));
  need(second === enrol(1, hash(first)) && hash(first) === visible.log);
  return true;
}

function need(holds: boolean): asserts holds {
  if (!holds) throw new Refused("enrol.changed", "changed");
}

/** The same JSON, whatever the order of members. */
function same(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const [names, others] = [Object.keys(a), Object.keys(b)];
  const of = (value: object, name: string): unknown => (value as Record<string, unknown>)[name];
  return Array.isArray(a) === Array.isArray(b) && names.length === others.length && names.every((name) => name in b && same(of(a, name), of(b, name)));
}
