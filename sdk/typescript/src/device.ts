/** An enrolled device: it presents itself, gets tokens, reads its log, and speaks to the broker. */

import { disclosed, present, readCredential, type Credential, type Occasion } from "./credential.js";
import { publicKeyOf, signerOf, type Signer } from "./deviceKeys.js";
import { readDeviceLog, rootConsent, type DeviceLog, type Member } from "./deviceLog.js";
import type { Tier } from "./enrolment.js";
import type { Http, Request } from "./http.js";
import { signBy, unverifiedKid } from "./jws.js";
import { PublicKey } from "./key.js";
import type { Line } from "./line.js";
import { Refused } from "./refused.js";
import { readStatusList } from "./statusList.js";
import type { Chain } from "./session/chain.js";
import { MemoryStore, type Handing, type Kept, type Pin, type Store } from "./store.js";

/** What the person lets a device do without asking at it, by the broker's word: it moves no session to anybody who is not theirs. */
export interface Unasked {
  /** Hand over what another full device asks for. */
  gives: boolean;
  /** Go on with what is handed to it. */
  takes: boolean;
}

interface Switches {
  without_sync: string[];
  /** These are not said by an older broker. */
  unasked?: Unasked;
  shows?: boolean;
}

/** The log as this device checked it, and who of it identity says is live: it may leave some out, it cannot add any. */
export interface Members extends DeviceLog {
  live: string[];
  /** What the person called each, and what it said of itself; told to full devices, and no evidence. */
  labels: Label[];
  /** Whom the person keeps the sessions of the others from. Like identity the broker may leave devices out of what is sealed; it adds none. */
  withoutSync: string[];
  /** What the person lets this device do without asking at it. */
  unasked: Unasked;
  /** Whether the person lets the others see what this device shows. */
  shows: boolean;
  /** The person is replacing the root; told to full devices. See {@link Device.agree}. */
  replaceRoot?: ReplaceRoot;
}

/** What full devices are told of each. */
export interface Label {
  device: string;
  name: string;
  /** What it said of itself when it was enrolled; not said by an older server. */
  capabilities?: string[];
}

/** What a full device is asked to agree to: that the log goes on under another root's issuer key. */
export interface ReplaceRoot {
  /** The issuer key's DID so far. */
  from: string;
  /** The new one. */
  to: string;
}

/** How old what is known of the log may be when something is sealed, in seconds. */
const RECENT_SECS = 60;
/** How long a service's key is believed without asking again: one that was dropped or replaced counts no longer than this. */
const KEYS_SECS = 3600;

interface LogAnswer {
  entries: string[];
  live: string[];
  directory?: Label[];
  replace_root?: ReplaceRoot;
}

/** A request to the broker. */
export interface BrokerRequest {
  scope: string;
  path: string;
  /** Narrows the token to one session. */
  session?: string;
  /** A body makes it a POST. */
  json?: object;
}

/** A device. Make one with `enrolHere` or `enrolElsewhere`; {@link Device.load} is for the next start. */
export class Device {
  /** Services' own keys, and when each was asked for them. */
  readonly #keys = new Map<string, { at: number; keys: { kid: string; key: PublicKey }[] }>();
  #recent: { at: number; members: Members } | undefined;
  /** The last snapshot of each session that it told the broker it has. */
  readonly #acknowledged = new Map<string, number>();

  /** @internal The streams it writes on, while they are there. */
  readonly lines = new Set<Line>();

  private constructor(
    public kept: Readonly<Kept>,
    readonly http: Http,
    readonly signer: Signer,
    private credential: Credential,
    /** @internal */
    readonly store: Store,
  ) {}

  /** @internal Whether this snapshot of a session is newer than the last that this was asked of. */
  isNewSnapshot(session: string, seq: number): boolean {
    const isNew = seq > (this.#acknowledged.get(session) ?? 0);
    if (isNew) this.#acknowledged.set(session, seq);
    return isNew;
  }

  /** The device a store keeps; `undefined` when nothing was enrolled there yet. */
  static async load(store: Store, http: Http): Promise<Device | undefined> {
    const kept = await store.load();
    return kept && Device.#from(kept, http, store);
  }

  static async #from(kept: Kept, http: Http, store: Store): Promise<Device> {
    const signer = await signerOf(kept.keys.signing);
    const credential = readCredential(kept.credential);
    // The credential is for this very key, by the issuer it names.
    if (!credential.key.equals(signer.public)) throw new Refused("vc.invalid", "another key");
    return new Device(kept, http, signer, credential, store);
  }

  /** What identity has just issued, checked against the log that came with it, and kept. */
  static async issued(issued: Pick<Kept, "servers" | "clientId" | "keys" | "credential" | "deviceId">, entries: string[], http: Http, store: Store = new MemoryStore()): Promise<Device> {
    const log = readDeviceLog(entries);
    const device = await Device.#from({ ...issued, head: log.head, pins: {}, statusSeen: 0, tokens: {} }, http, store);
    await needOurs(log, device.credential, issued);
    await store.alone(async () => {
      const there = await store.load();
      // Its keys would be gone for good.
      if (there && there.deviceId !== issued.deviceId) throw new Refused("enrol.key_in_use", "another device is kept there");
      await store.save(device.kept);
    });
    return device;
  }

  /** Its DID. */
  get did(): string {
    return this.signer.public.did;
  }

  /** What it may do. */
  get tier(): Tier {
    return this.credential.tier;
  }

  /** The person, as this app sees them. */
  get subject(): string {
    return this.credential.log;
  }

  /** A presentation for an occasion, showing the named claims and no other; dated by the clock of its audience, or of the service that looks at it. */
  present(occasion: Occasion, disclose: string[] = [], service: string = occasion.audience): Promise<string> {
    return present(this.kept.credential, occasion, disclose, this.http.seconds(service), this.signer);
  }

  /** A nonce of a service, for a presentation to it. */
  async nonce(service: string): Promise<string> {
    const json = { jkt: this.signer.public.thumbprint };
    return ((await this.http.plain({ method: "POST", service, path: "/v1/nonces", json })) as { nonce: string }).nonce;
  }

  /** A token of at most five minutes for an audience, scopes and, if given, one session; kept until half a minute before it ends, for every tab of this device. */
  async token(audience: string, scope: string, session?: string): Promise<string> {
    return (await this.tokenUntil(audience, scope, session)).token;
  }

  /** @internal The same, and from when on there is another one, in Unix seconds. */
  async tokenUntil(audience: string, scope: string, session?: string): Promise<{ token: string; until: number }> {
    const name = [audience, scope, session ?? ""].join(" ");
    return this.#living(name) ?? this.#change(async () => {
      // Another tab may have been quicker.
      const known = this.#living(name);
      if (known !== undefined) return known;
      const answer = await this.#exchange(audience, scope, session);
      const living = Object.entries(this.kept.tokens).filter(([, { until }]) => this.http.seconds() < until);
      const fresh = { token: answer.access_token, until: this.http.seconds() + answer.expires_in - 30 };
      this.kept = { ...this.kept, tokens: { ...Object.fromEntries(living), [name]: fresh } };
      return fresh;
    });
  }

  #living(name: string): { token: string; until: number } | undefined {
    const known = this.kept.tokens[name];
    return known && this.http.seconds() < known.until ? known : undefined;
  }

  /** @internal Does something in which this device presents; once more when its clock, by which it signed, turned out to be off. */
  async presenting<T>(act: () => Promise<T>): Promise<T> {
    const { corrections } = this.http;
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "kb.invalid" || corrections === this.http.corrections) throw error;
      return act();
    }
  }

  /** A lost answer spends the presentation's nonce, and a clock put right outdates it: then the whole exchange is what is tried again. */
  async #exchange(audience: string, scope: string, session: string | undefined, triesLeft = 4): Promise<{ access_token: string; expires_in: number }> {
    const { servers: { verifier }, credential: shown } = this.kept;
    const form = {
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token_type: "urn:baton:token-type:device-presentation",
      subject_token: await this.present({ audience: verifier, nonce: await this.nonce(verifier) }),
      audience,
      scope,
      ...(session === undefined ? {} : { authorization_details: JSON.stringify([{ type: "baton_session", session }]) }),
    };
    const { corrections } = this.http;
    try {
      return (await this.http.proven({ method: "POST", service: verifier, path: "/token", form }, this.signer)) as { access_token: string; expires_in: number };
    } catch (error) {
      const code = error instanceof Refused ? error.code : "";
      // Another exchange under way may have taken it in already.
      const isOld = (): boolean => this.kept.credential !== shown;
      const renewed = code === "status.revoked" && (isOld() || (await this.#takeRenewed()) || isOld());
      const again = renewed || code === "kb.replay" || (code === "kb.invalid" && corrections !== this.http.corrections);
      if (again && triesLeft > 0) return this.#exchange(audience, scope, session, triesLeft - 1);
      throw error;
    }
  }

  /** Takes in what the person has had signed for this device since; false when there is nothing new. */
  async #takeRenewed(): Promise<boolean> {
    const request = { method: "POST", service: this.kept.servers.identity, path: "/v1/credential" } as const;
    const answer = await this.http.proven(request, this.signer).catch(() => undefined);
    const { credential, device_log } = (answer ?? {}) as { credential?: string; device_log?: string[] };
    if (credential === undefined || device_log === undefined || credential === this.kept.credential) return false;
    const fresh = readCredential(credential, this.http.seconds(this.kept.servers.identity));
    const log = this.#goesOn(device_log);
    await needOurs(log, fresh, this.kept);
    this.credential = fresh;
    this.kept = { ...this.kept, credential, head: log.head };
    return true;
  }

  /** A log that goes on from what this device saw before. */
  #goesOn(entries: string[]): DeviceLog {
    const log = readDeviceLog(entries);
    const { head } = this.kept;
    if (log.subject !== this.subject) throw new Refused("log.fork", "fork");
    if (log.head.n < head.n) throw new Refused("log.rollback", "rollback");
    if (readDeviceLog(entries.slice(0, head.n + 1)).head.hash !== head.hash) throw new Refused("log.fork", "fork");
    return log;
  }

  /** Asks the broker. */
  broker<T>(request: BrokerRequest): Promise<T> {
    return this.#call(this.kept.servers.broker, request);
  }

  /** Asks a service; presents anew, once, when the token turns out to be dead. */
  async #call<T>(service: string, { scope, path, session, json }: BrokerRequest): Promise<T> {
    const ask = async (): Promise<T> => {
      const token = await this.token(service, scope, session);
      const request: Request = { method: json ? "POST" : "GET", service, path, token, ...(json ? { json } : {}) };
      return (await this.http.proven(request, this.signer)) as T;
    };
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "invalid_token") throw error;
      await this.forgetTokens();
      return ask();
    }
  }

  /** The next step presents anew. */
  async forgetTokens(): Promise<void> {
    await this.#change(async () => {
      this.kept = { ...this.kept, tokens: {} };
    });
  }

  /** What it said of itself when it was enrolled. */
  get capabilities(): string[] {
    const said = disclosed(this.kept.credential, "capabilities");
    return Array.isArray(said) ? said.filter((word) => typeof word === "string") : [];
  }

  /** Its log as identity has it now, checked, and held against what it saw before; and who of it may be sealed to. */
  async members(): Promise<Members> {
    const [{ log, answer }, { without_sync: withoutSync, unasked = { gives: false, takes: false }, shows = true }] = await Promise.all([this.#log(), this.#switches()]);
    const live = answer.live.filter((did) => log.members.some((member) => member.device === did));
    const members = { ...log, live, labels: answer.directory ?? [], withoutSync, unasked, shows, ...(answer.replace_root ? { replaceRoot: answer.replace_root } : {}) };
    this.#recent = { at: this.http.seconds(), members };
    return members;
  }

  /** The log, as identity alone gives it. */
  async #log(): Promise<{ log: DeviceLog; answer: LogAnswer }> {
    const answer = await this.#call<LogAnswer>(this.kept.servers.identity, { scope: "log:read", path: "/v1/log" });
    const log = await this.#change(async () => {
      const read = this.#goesOn(answer.entries);
      this.kept = { ...this.kept, head: read.head };
      return read;
    });
    return { log, answer };
  }

  async #switches(): Promise<Switches> {
    try {
      return await this.broker<Switches>({ scope: "session:read", path: "/v1/switches" });
    } catch (error) {
      // It has no part in sessions, and seals nothing.
      if (error instanceof Refused && error.code === "invalid_scope") return { without_sync: [] };
      throw error;
    }
  }

  /**
   * Agrees that another root replaces the one so far. Ask the person first, showing {@link issuerFingerprint} of `to`, which their page shows as
   * well: whoever stole a root waits for just this.
   */
  async agree(asked: ReplaceRoot): Promise<void> {
    const { subject, issuer } = (await this.#log()).log;
    if (issuer !== asked.from) throw new Refused("log.consent", "another root");
    const consent = await signBy("baton-root-consent+jwt", this.signer, rootConsent(subject, asked.from, asked.to));
    await this.#call(this.kept.servers.identity, { scope: "log:read", path: "/v1/log/consent", json: { consent } });
  }

  /** {@link members} as they were within the last minute. */
  async recentMembers(): Promise<Members> {
    const recent = this.#recent;
    return recent && this.http.seconds() < recent.at + RECENT_SECS ? recent.members : this.members();
  }

  /** A service's key of that name. Keys change while devices run: one that is not known, or was known long ago, is asked for. */
  async keyOf(service: string, kid: unknown): Promise<PublicKey> {
    const now = this.http.seconds();
    const known = this.#keys.get(service);
    const recent = known && known.at <= now && now < known.at + KEYS_SECS ? known.keys.find((one) => one.kid === kid) : undefined;
    const found = recent ?? (await this.#fetchKeys(service, now)).find((one) => one.kid === kid);
    if (!found) throw new Refused("jose.invalid", "no such key of the service");
    return found.key;
  }

  async #fetchKeys(service: string, at: number): Promise<{ kid: string; key: PublicKey }[]> {
    const answer = (await this.http.plain({ method: "GET", service, path: "/jwks" })) as { keys: { kid: string }[] };
    const keys = answer.keys.map((jwk) => ({ kid: jwk.kid, key: PublicKey.fromJwk(jwk) }));
    this.#keys.set(service, { at, keys });
    return keys;
  }

  /** Refuses a credential whose status, in identity's signed list as it is now, is anything but valid. */
  async needValid({ idx, uri }: Credential["status"]): Promise<void> {
    const { identity } = this.kept.servers;
    // Only the list that this device's own credential stands in is ever fetched.
    if (uri !== this.credential.status.uri || !uri.startsWith(`${identity}/`)) throw new Refused("status.invalid", "uri");
    const token = await this.http.plain({ method: "GET", service: identity, path: uri.slice(identity.length) });
    if (typeof token !== "string") throw new Refused("status.invalid", "token");
    const key = await this.keyOf(identity, unverifiedKid(token));
    const list = await readStatusList(token, uri, key, this.kept.statusSeen, this.http.seconds(identity));
    // Kept before it is judged by: what it says of this one, no older list says otherwise.
    await this.#change(async () => {
      this.kept = { ...this.kept, statusSeen: Math.max(this.kept.statusSeen, list.iat) };
    });
    list.needValid(idx);
  }

  /** What this device, in whatever tab, saw last of a session. */
  async pin(session: string): Promise<Pin | undefined> {
    return ((await this.store.load()) ?? this.kept).pins[session];
  }

  /** Keeps what it saw of a session: what was seen before is never unseen, and another history takes its place only where that one is `over`. */
  async setPin(session: string, pin: Pin, chain: Pick<Chain, "continues">, over?: string): Promise<void> {
    await this.#change(async () => {
      const known = this.kept.pins[session];
      if (known && chain.continues(known.chain)) {
        if (known.n === pin.n && known.seq > pin.seq) return;
      } else if (known && known.chain !== over) {
        // Of the same history, and seen before: or of another, and then whoever reads next finds out.
        if (known.n > pin.n && over === undefined) return;
        throw new Refused("handoff.forked", "another chain than was seen before");
      }
      this.kept = { ...this.kept, pins: { ...this.kept.pins, [session]: pin } };
    });
  }

  /** What this device, in whatever tab, hands over of a session. */
  async handing(session: string): Promise<Handing | undefined> {
    return ((await this.store.load()) ?? this.kept).handing?.[session];
  }

  /** Keeps that, or that there is nothing any more. */
  async setHanding(session: string, handing: Handing | undefined): Promise<void> {
    await this.#change(async () => {
      const { [session]: _before, ...others } = this.kept.handing ?? {};
      this.kept = { ...this.kept, handing: handing ? { ...others, [session]: handing } : others };
    });
  }

  /** Whether a device is given the keys of every session. */
  static syncs(members: Members, device: string): boolean {
    return members.tierOf(device) === "full" && !members.withoutSync.includes(device);
  }

  /** Live members of the log that `wanted` accepts: the only ones keys are sealed to. */
  static recipients(members: Members, wanted: (member: Member) => boolean): Member[] {
    return members.members.filter((member) => members.live.includes(member.device) && wanted(member));
  }

  /** Changes what is kept, from how it stands now: another tab may have changed it since this one looked. */
  #change<T>(act: () => Promise<T>): Promise<T> {
    return this.store.alone(async () => {
      const stored = await this.store.load();
      if (!stored) throw new Refused("log.not_member", "the device was forgotten here");
      if (stored.credential !== this.kept.credential) this.credential = readCredential(stored.credential);
      this.kept = stored;
      const given = await act();
      await this.store.save(this.kept);
      return given;
    });
  }
}

/** Refuses a credential that is not what the log says of the device with these keys. */
async function needOurs(log: DeviceLog, credential: Credential, { keys, clientId }: Pick<Kept, "keys" | "clientId">): Promise<void> {
  const [signing, agreement] = [await publicKeyOf(keys.signing), await publicKeyOf(keys.agreement)];
  const member = log.members.find(({ device }) => device === signing.did);
  const inLog = member !== undefined && member.agreement.equals(agreement) && member.tier === credential.tier && member.clientId === clientId;
  const ofLog = credential.log === log.subject && credential.iss === log.issuer && credential.clientId === clientId;
  if (!inLog || !ofLog || !credential.key.equals(signing)) throw new Refused("log.not_member", "not member");
}
