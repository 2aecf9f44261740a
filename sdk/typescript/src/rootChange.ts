/** Replacing the root, for pages: what identity asks to be signed is checked under the root so far, and the new one signs (docs/protocol.md §4). */

import { needConsent, renewEntry, replaceRootEntry, revokeEntry, type DeviceLog } from "./deviceLog.js";
import { issuerStatement, logOf, needAnew, signCredential, type ToSign } from "./enrolment.js";
import { PublicKey, hash } from "./key.js";
import { sign, signText, verifyBy } from "./jws.js";
import { systemRandom, type Random } from "./random.js";
import { Refused } from "./refused.js";
import type { Root } from "./root.js";

/** One device's credential, to be signed anew by the new issuer key. */
export interface Anew extends ToSign {
  /** The credential it has. */
  before: string;
}

/** What identity asks to be signed for one app. */
export interface AppChange {
  app: string;
  /** Payloads of the log entries, as exact JSON texts. */
  entries: string[];
  /** The devices that `renew` names, in that order. */
  devices: Anew[];
}

/** What goes back for one app. */
export interface AppSigned {
  app: string;
  entries: string[];
  credentials: string[];
  issuer_statement: string;
}

/** "I want that root in the place of mine." */
export function requestFor(root: Root, next: Root): string {
  return sign("baton-root-request+jwt", root.account, { v: 1, from: root.fingerprint, to: next.fingerprint });
}

/** "That root replaces mine", by the account key of the one so far: for the switch, and not before everybody agreed. */
export function replacedBy(root: Root, next: Root): string {
  return sign("baton-root+jwt", root.account, { v: 1, from: root.fingerprint, to: next.fingerprint });
}

/** Whether statements of {@link replacedBy}, one after the other, lead from a root that was known to another. */
export function leadsTo(statements: string[], known: string, now: string): boolean {
  let at = known;
  for (const statement of statements) {
    const { by, claims, payloadHash } = verifyBy(statement, "baton-root+jwt");
    const [from, to] = [hash(PublicKey.fromDid(by).sec1), String(claims["to"])];
    if (to === from || payloadHash !== hash(JSON.stringify({ v: 1, from, to }))) throw new Refused("wrap.proof", "statement");
    if (from === at) at = to;
  }
  return at === now;
}

/**
 * Signs the switch of one app to `next`: its log, of which `entries` is all, is handed over with a full device's consent, and every device that was
 * not revoked gets the credential it has, signed by the new issuer key.
 */
export function handOver(root: Root, next: Root, change: AppChange, entries: string[], random: Random = systemRandom): AppSigned {
  const [before, issuer] = [root.issuer(change.app), next.issuer(change.app)];
  try {
    needRight(change, logOf(entries, before, change.app), issuer.public.did);
    return {
      app: change.app,
      entries: change.entries.map((text, at) => signText("baton-log+jwt", at === 0 ? before : issuer, text)),
      credentials: change.devices.map((device) => signCredential(device, issuer, random)),
      issuer_statement: issuerStatement(next, change.app, issuer.public.did),
    };
  } finally {
    before.forget();
    issuer.forget();
  }
}

/** The log is handed over first; then everybody who is in it is named once: taken out, or renewed. */
function needRight({ entries, devices }: AppChange, log: DeviceLog, to: string): void {
  const left = new Set(log.members.map(({ device }) => device));
  const renewed = [...devices];
  let place = { n: log.head.n + 1, prev: log.head.hash };
  let agreed = "";
  entries.forEach((text, at) => {
    const { op, device = "", consent = "" } = JSON.parse(text) as { op?: unknown; device?: string; consent?: string };
    if (at === 0) {
      need(text === replaceRootEntry(place, to, consent));
      agreed = needConsent(log, to, consent);
    } else {
      need(left.delete(device));
      const anew = op === "renew" ? renewed.shift() : undefined;
      // Whoever agreed stays.
      need(anew !== undefined || device !== agreed);
      need(text === (anew ? renewEntry(place, device) : revokeEntry(place, device)));
      need(anew !== undefined || renewed.length === devices.length);
      const tier = log.tierOf(device);
      if (anew && tier) needAnew(log, device, anew.before, anew, to, tier);
    }
    place = { n: place.n + 1, prev: hash(text) };
  });
  need(entries.length > 0 && left.size === 0 && renewed.length === 0);
}

function need(holds: boolean): asserts holds {
  if (!holds) throw new Refused("enrol.changed", "changed");
}
