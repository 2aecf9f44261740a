/** A device log as a client checks it: an append-only chain by one issuer key, which alone names who may receive keys (docs/protocol.md §5). */

import { decode } from "./base64url.js";
import { PublicKey, type Jwk } from "./key.js";
import { verify } from "./jws.js";
import { Refused } from "./refused.js";
import type { Tier } from "./enrolment.js";

/** A device the log knows as enrolled. */
export interface Member {
  device: string;
  agreement: PublicKey;
  tier: Tier;
  clientId: string;
}

/** A log that was read from its first entry. */
export interface DeviceLog {
  issuer: string;
  app: string;
  /** Hash of the first entry: the person, as this app sees them. */
  subject: string;
  head: { n: number; hash: string };
  members: Member[];
}

/** Reads and checks a whole log. An entry of a kind this version does not know is refused: it might take somebody out. */
export function readDeviceLog(entries: string[]): DeviceLog {
  const log: DeviceLog = { issuer: "", app: "", subject: "", head: { n: -1, hash: "" }, members: [] };
  // Who was ever let in: nobody is let in twice.
  const seen = new Set<string>();
  for (const text of entries) {
    const { kid, claims, payloadHash } = verify(text, "baton-log+jwt", (named) => {
      const did = log.issuer || (named ?? "").split("#")[0] || "";
      return PublicKey.fromDid(did);
    });
    const n = log.head.n + 1;
    need(claims["v"] === 1 && claims["n"] === n && claims["prev"] === (n === 0 ? undefined : log.head.hash));
    if (n === 0) {
      need(claims["op"] === "open" && typeof claims["iss"] === "string" && typeof claims["app"] === "string" && decode(String(claims["salt"])).length === 16);
      log.issuer = String(claims["iss"]);
      log.app = String(claims["app"]);
      log.subject = payloadHash;
    } else {
      apply(log, seen, claims);
    }
    need(kid === PublicKey.fromDid(log.issuer).url);
    log.head = { n, hash: payloadHash };
  }
  need(entries.length > 0);
  return log;
}

function apply(log: DeviceLog, seen: Set<string>, claims: Record<string, unknown>): void {
  const device = String(claims["device"]);
  const known = log.members.find((member) => member.device === device);
  const tier = claims["tier"];
  switch (claims["op"]) {
    case "enrol":
      need(!seen.has(device) && (tier === "full" || tier === "limited"));
      seen.add(device);
      log.members.push({ device, agreement: PublicKey.fromJwk(claims["agreement_jwk"] as Jwk), tier: tier as Tier, clientId: String(claims["client_id"]) });
      return;
    case "tier":
      need(known !== undefined && (tier === "full" || tier === "limited"));
      if (known) known.tier = tier as Tier;
      return;
    case "renew":
      return need(known !== undefined);
    case "revoke":
      need(known !== undefined);
      log.members = log.members.filter((member) => member !== known);
      return;
    default:
      need(false);
  }
}

function need(holds: boolean): void {
  if (!holds) throw new Refused("log.invalid", "invalid");
}
