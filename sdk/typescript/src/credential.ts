/** The device credential, and showing it: what a device carries and what it checks of others (docs/protocol.md §5, §6). */

import { decode, encode, utf8 } from "./base64url.js";
import type { Signer } from "./deviceKeys.js";
import { LONGEST_LIFE_SECS, VCT, type Tier } from "./enrolment.js";
import { verify, verifyBy } from "./jws.js";
import { PublicKey, hash } from "./key.js";
import { Refused } from "./refused.js";

/** How far a clock may be ahead, and how old a fresh proof may be, in seconds. */
const AHEAD = 5;
const OLDEST = 60;

/** A credential whose signature and claims hold. Whether it still counts is its status, asked separately. */
export interface Credential {
  key: PublicKey;
  iss: string;
  clientId: string;
  tier: Tier;
  log: string;
  status: { idx: number; uri: string };
}

/** Checks an SD-JWT: signed by the issuer it names, of this type, with its disclosures, and in time; a device whose own clock may be off leaves out `now`. */
export function readCredential(sdJwt: string, now?: number): Credential {
  const [jwt = "", ...disclosures] = sdJwt.split("~").filter((part) => part !== "");
  const { by, claims } = verifyBy(jwt, "dc+sd-jwt");
  const { iss, sub, vct, tier, log, iat, exp, nbf, cnf, status, status_issuer, _sd, _sd_alg: alg, client_id: clientId } = claims as Record<string, unknown> & {
    cnf?: { jwk?: object };
    status?: { status_list?: { idx?: unknown; uri?: unknown } };
  };
  const key = PublicKey.fromJwk(cnf?.jwk ?? {});
  const [from, to] = [Number(iat), Number(exp)];
  const { idx, uri } = status?.status_list ?? {};
  const times = Number.isInteger(iat) && Number.isInteger(exp) && from >= 0 && to > from && to - from <= LONGEST_LIFE_SECS;
  const begun = nbf === undefined || (Number.isInteger(nbf) && (now === undefined || Number(nbf) <= now + AHEAD));
  const timely = times && begun && (now === undefined || (from <= now + AHEAD && to > now));
  const disclosed = Array.isArray(_sd) && new Set(disclosures).size === disclosures.length && disclosures.every((one) => _sd.includes(hash(one)));
  const single = Object.keys(cnf ?? {}).length === 1 && (alg === undefined || alg === "sha-256");
  const index = Number.isInteger(idx) && Number(idx) >= 0 && Number(idx) < 2 ** 32;
  const texts = [log, clientId, uri, status_issuer].every((text) => typeof text === "string") && single && index;
  if (iss !== by || sub !== key.did || vct !== VCT || !timely || !disclosed || !texts || (tier !== "full" && tier !== "limited")) {
    throw new Refused("vc.invalid", "policy");
  }
  return { key, iss: by, clientId: clientId as string, tier, log: log as string, status: { idx: idx as number, uri: uri as string } };
}

/** One thing agreed to: JSON in base64url, hashed as that string. */
export function agreed(type: "baton.offer" | "baton.handoff" | "baton.claim", what: object): string {
  return encode(JSON.stringify({ type, credential_ids: ["device"], ...what }));
}

/** What a presentation is for. */
export interface Occasion {
  /** Whom it is shown to, compared byte for byte. */
  audience: string;
  nonce: string;
  /** What is agreed to by showing it: {@link agreed}. */
  data?: string[];
}

/** The signed part of a credential, and what it could disclose: each as it is shown, with its name and value. */
function parts(credential: string): { jwt: string; disclosures: { text: string; name: unknown; value: unknown }[] } {
  const [jwt = "", ...disclosures] = credential.split("~").filter((part) => part !== "");
  const read = disclosures.map((text) => {
    const [, name, value] = JSON.parse(new TextDecoder().decode(decode(text))) as unknown[];
    return { text, name, value };
  });
  return { jwt, disclosures: read };
}

/** A claim that a device's own credential could disclose. */
export function disclosed(credential: string, name: string): unknown {
  return parts(credential).disclosures.find((one) => one.name === name)?.value;
}

/** Every claim of a device's own credential, whether in clear or not disclosed before. */
export function allClaims(credential: string): Record<string, unknown> {
  const { jwt, disclosures } = parts(credential);
  const clear = JSON.parse(new TextDecoder().decode(decode(jwt.split(".")[1] ?? ""))) as Record<string, unknown>;
  const open = Object.entries(clear).filter(([name]) => !name.startsWith("_sd"));
  return Object.fromEntries([...open, ...disclosures.map(({ name, value }) => [String(name), value] as const)]);
}

/** Shows a credential with the named claims and no other. */
export async function present(credential: string, { audience, nonce, data = [] }: Occasion, disclose: string[], now: number, signer: Signer): Promise<string> {
  const { jwt, disclosures } = parts(credential);
  const named = disclosures.filter((one) => disclose.includes(String(one.name)));
  const shown = [jwt, ...named.map((one) => one.text), ""].join("~");
  const hashes = data.map((one) => hash(one));
  const claims = { aud: audience, iat: now, nonce, sd_hash: hash(shown), ...(hashes.length === 0 ? {} : { transaction_data_hashes: hashes }) };
  const input = `${encode(JSON.stringify({ alg: "ES256", typ: "kb+jwt" }))}.${encode(JSON.stringify(claims))}`;
  return `${shown}${input}.${encode(await signer.sign(utf8(input)))}`;
}

/** Checks a presentation for exactly this occasion, now. */
export function verifyPresentation(presentation: string, { audience, nonce, data = [] }: Occasion, now: number): Credential {
  const end = presentation.lastIndexOf("~") + 1;
  const [shown, kb] = [presentation.slice(0, end), presentation.slice(end)];
  const credential = readCredential(shown, now);
  const { claims } = verify(kb, "kb+jwt", () => credential.key);
  const { aud, iat, nonce: used, sd_hash, transaction_data_hashes: hashes = [], transaction_data_hashes_alg: alg = "sha-256" } = claims;
  const fresh = Number.isInteger(iat) && Number(iat) <= now + AHEAD && Number(iat) >= now - OLDEST;
  const same = alg === "sha-256" && JSON.stringify(hashes) === JSON.stringify(data.map((one) => hash(one)));
  if (aud !== audience || used !== nonce || sd_hash !== hash(shown) || !fresh || !same) throw new Refused("kb.invalid", "another occasion");
  return credential;
}
