/** An enrolled device: it presents itself, gets tokens, and reads its log. */

import { decode, encode, utf8 } from "./base64url.js";
import { publicKeyOf, signerOf, type DeviceKeys, type Signer } from "./deviceKeys.js";
import { readDeviceLog, type DeviceLog } from "./deviceLog.js";
import { VCT, type Tier } from "./enrolment.js";
import type { Http, Servers } from "./http.js";
import { verify } from "./jws.js";
import { PublicKey, didUrl, hash } from "./key.js";
import { Refused } from "./refused.js";

/** Everything a device keeps. Structured-cloneable: its keys stay unreadable wherever it is put. */
export interface Kept {
  servers: Servers;
  clientId: string;
  keys: DeviceKeys;
  credential: string;
  deviceId: string;
  /** The newest end of its log it has seen: a log that does not go on from there is a fork or a rollback. */
  head: { n: number; hash: string };
}

interface Claims {
  iss: string;
  clientId: string;
  tier: Tier;
  log: string;
}

/** A device. Make one with `enrolHere` or `enrolElsewhere`, or from what it kept. */
export class Device {
  readonly #tokens = new Map<string, { token: string; until: number }>();

  private constructor(
    readonly kept: Kept,
    readonly http: Http,
    readonly signer: Signer,
    private readonly claims: Claims,
  ) {}

  /** From what was kept. The credential is checked again: for this very key, by the issuer it names. */
  static async from(kept: Kept, http: Http): Promise<Device> {
    const signer = await signerOf(kept.keys.signing);
    return new Device(kept, http, signer, readCredential(kept.credential, signer.public, http.seconds()));
  }

  /** What identity has just issued, checked against the log that came with it. */
  static async issued(kept: Omit<Kept, "head">, entries: string[], http: Http): Promise<Device> {
    const log = readDeviceLog(entries);
    const device = await Device.from({ ...kept, head: log.head }, http);
    const member = log.members.find((one) => one.device === device.did);
    const agreement = await publicKeyOf(kept.keys.agreement);
    const ours = member !== undefined && member.agreement.equals(agreement) && member.tier === device.tier && member.clientId === kept.clientId;
    const sameIssuer = log.subject === device.subject && log.issuer === device.claims.iss && device.claims.clientId === kept.clientId;
    if (!ours || !sameIssuer) throw new Refused("log.not_member", "not member");
    return device;
  }

  /** Its DID. */
  get did(): string {
    return this.signer.public.did;
  }

  /** What it may do. */
  get tier(): Tier {
    return this.claims.tier;
  }

  /** The person, as this app sees them. */
  get subject(): string {
    return this.claims.log;
  }

  /** A presentation for an audience and the nonce it gave, showing the named claims and no other. */
  async present(audience: string, nonce: string, disclose: string[] = []): Promise<string> {
    const [jwt, ...disclosures] = this.kept.credential.split("~").filter((part) => part !== "");
    const named = (text: string): boolean => disclose.includes(String((JSON.parse(new TextDecoder().decode(decode(text))) as unknown[])[1]));
    const shown = [jwt, ...disclosures.filter(named), ""].join("~");
    const claims = { aud: audience, iat: this.http.seconds(), nonce, sd_hash: hash(shown) };
    const input = `${encode(JSON.stringify({ alg: "ES256", typ: "kb+jwt" }))}.${encode(JSON.stringify(claims))}`;
    return `${shown}${input}.${encode(await this.signer.sign(utf8(input)))}`;
  }

  /** A token of at most five minutes for an audience and scopes; kept until half a minute before it ends. */
  async token(audience: string, scope: string): Promise<string> {
    const name = `${audience} ${scope}`;
    const known = this.#tokens.get(name);
    if (known && this.http.seconds() < known.until) return known.token;
    const answer = await this.#exchange(audience, scope);
    this.#tokens.set(name, { token: answer.access_token, until: this.http.seconds() + answer.expires_in - 30 });
    return answer.access_token;
  }

  /** A lost answer spends the presentation's nonce, and a clock put right outdates it: then the whole exchange is what is tried again. */
  async #exchange(audience: string, scope: string, triesLeft = 4): Promise<{ access_token: string; expires_in: number }> {
    const { verifier } = this.kept.servers;
    const given = (await this.http.plain({ method: "POST", service: verifier, path: "/v1/nonces", json: { jkt: this.signer.public.thumbprint } })) as {
      nonce: string;
    };
    const form = {
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token_type: "urn:baton:token-type:device-presentation",
      subject_token: await this.present(verifier, given.nonce),
      audience,
      scope,
    };
    const { corrections } = this.http;
    try {
      return (await this.http.proven({ method: "POST", service: verifier, path: "/token", form }, this.signer)) as { access_token: string; expires_in: number };
    } catch (error) {
      const code = error instanceof Refused ? error.code : "";
      const again = code === "kb.replay" || (code === "kb.invalid" && corrections !== this.http.corrections);
      if (again && triesLeft > 0) return this.#exchange(audience, scope, triesLeft - 1);
      throw error;
    }
  }

  /** Its log as identity has it now, checked, and held against what it saw before. Store {@link Device.kept} afterwards: its `head` has moved. */
  async log(): Promise<DeviceLog & { live: string[] }> {
    const { identity } = this.kept.servers;
    const token = await this.token(identity, "log:read");
    const request = { method: "GET", service: identity, path: "/v1/log", token } as const;
    const answer = (await this.http.proven(request, this.signer)) as { entries: string[]; live: string[] };
    const log = readDeviceLog(answer.entries);
    if (log.subject !== this.subject) throw new Refused("log.fork", "fork");
    if (log.head.n < this.kept.head.n) throw new Refused("log.rollback", "rollback");
    if (readDeviceLog(answer.entries.slice(0, this.kept.head.n + 1)).head.hash !== this.kept.head.hash) throw new Refused("log.fork", "fork");
    this.kept.head = log.head;
    // Identity may leave some out; it cannot add any.
    return { ...log, live: answer.live.filter((did) => log.members.some((member) => member.device === did)) };
  }
}

function readCredential(credential: string, key: PublicKey, now: number): Claims {
  const [jwt = "", ...disclosures] = credential.split("~").filter((part) => part !== "");
  const { kid, claims } = verify(jwt, "dc+sd-jwt", (named) => PublicKey.fromDid((named ?? "").split("#")[0] ?? ""));
  const { iss, sub, vct, tier, log, iat, exp, cnf, _sd, client_id: clientId } = claims as Record<string, unknown> & { cnf?: { jwk?: object } };
  const named = typeof iss === "string" && kid === didUrl(iss) && sub === key.did && PublicKey.fromJwk(cnf?.jwk ?? {}).equals(key);
  const timely = Number.isInteger(iat) && Number.isInteger(exp) && Number(exp) > now;
  const disclosed = Array.isArray(_sd) && disclosures.every((one) => _sd.includes(hash(one)));
  if (!named || vct !== VCT || !timely || !disclosed || (tier !== "full" && tier !== "limited") || typeof log !== "string" || typeof clientId !== "string") {
    throw new Refused("vc.invalid", "policy");
  }
  return { iss, clientId, tier, log };
}
