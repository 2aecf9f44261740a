/** A session on this device: opened here, taken over, claimed or followed. Content is bytes the app gives; each write is the whole of it. */

import type { Device } from "../device.js";
import { newId } from "../id.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";
import { agreed } from "../credential.js";
import { readBranches, type Branch } from "./branches.js";
import { Chain, signStatement, type Act, type Mode, type Signed } from "./chain.js";
import type { SessionKey } from "./key.js";
import { fit, readNeeds, type Needs, type Taker } from "./needs.js";
import { load, type Known, type Reading } from "./loading.js";
import { isToItself, lookAfterKey, newKey, rekey } from "./recipients.js";
import { makeEnvelope, needAccepted } from "./reading.js";
import type { Present } from "../presence.js";
import { Turns } from "../store.js";
import { sealUpdate, updateHash, type Head, type SealedUpdate } from "./update.js";
import { openView, sealView, type SealedView } from "./view.js";
import { Heard } from "./volatile.js";

/** Where a write went: into the session, or beside it because the session had moved on. */
export type Written = { to: "session"; head: Head } | { to: "branch"; epoch: number };

/** How a session is opened. */
export interface Opening {
  /** What it needs of the devices it is on. */
  needs?: Needs;
  /** `shared`: every full device of the person writes into it, whoever holds it. For documents, whose edits come together. */
  mode?: Mode;
}

/** A session as the broker lists it: a hint, until {@link Session.load} has checked it. */
export interface Listed {
  session: string;
  phase: "active" | "detached" | "handing_off" | "ended";
  epoch: number;
  holder: string | null;
  /** An open handoff's id. */
  open_handoff: string | null;
}

/** After how many updates a write is a snapshot: whoever reads the session begins there. */
const SNAPSHOT_EVERY = 32;

/** A session as this device knows it. */
export class Session {
  #known: Known;
  /** It was held here until somebody else was found to have it: what was meant for it goes beside. */
  #isLate = false;
  /** The last update whose answer did not come. */
  #unanswered: string | undefined;
  readonly #heard = new Heard();
  readonly #turns = new Turns();

  private constructor(
    readonly device: Device,
    readonly id: string,
    known: Known,
  ) {
    this.#known = known;
  }

  /** Its content, as this device has read or written it. */
  get content(): Uint8Array {
    return this.#known.content;
  }

  /** The last update of it. */
  get head(): Head {
    return this.#known.head;
  }

  /** Who held it, and holds it. */
  get chain(): Chain {
    return this.#known.chain;
  }

  get keys(): Map<number, SessionKey> {
    return this.#known.keys;
  }

  /** Who was given the newest key. */
  get recipients(): Set<string> {
    return this.#known.recipients;
  }

  /** Other devices that wrote what this one had not seen before it was last read. */
  get wrote(): Set<string> {
    return this.#known.wrote;
  }

  /** In a shared session, what devices that are out wrote last and this one had not seen: no part of the content. */
  get beside(): Branch[] {
    return this.#known.beside;
  }

  /** Number of the last update that is content. */
  get used(): number {
    return this.#known.used;
  }

  /** @internal Steps that change what is known of a session come one after another, however they are asked for. */
  alone<T>(act: () => Promise<T>): Promise<T> {
    return this.#turns.take(act);
  }

  /** The sessions this device may see. */
  static async list(device: Device): Promise<Listed[]> {
    return (await device.broker<{ sessions: Listed[] }>({ scope: "session:read", path: "/v1/sessions" })).sessions;
  }

  /** Opens a session on this device, with its first content. */
  static async open(device: Device, content: Uint8Array, { needs, mode = "exclusive" }: Opening = {}): Promise<Session> {
    const needed = readNeeds(needs);
    const { around } = device.http;
    const id = newId("ses", device.http.seconds() * 1000, around.random);
    const key = { version: 1, bytes: around.random(32) };
    const members = await device.members();
    const { envelope, recipients } = await makeEnvelope(device, members, id, key);
    const act: Act = { kind: "open", app: members.app, subject: device.subject, mode, envelope: hash(envelope) };
    const signed = await signStatement({ session: id, epoch: 1, prev: undefined, device: device.did, act }, device.signer);
    const answer = await device.broker<{ accepted: string }>({ scope: "session:write", path: "/v1/sessions", json: { statement: signed.text, envelope } });
    await needAccepted(device, answer.accepted, id, signed.hash);
    const session = new Session(device, id, {
      chain: Chain.open(signed),
      keys: new Map([[1, key]]),
      recipients,
      added: new Set(),
      content: new Uint8Array(),
      head: { epoch: 1, seq: 0, hash: signed.hash },
      needs: needed,
      wrote: new Set(),
      beside: [],
      aside: undefined,
      used: 0,
      lastBy: undefined,
      sinceSnapshot: 0,
      snapshot: 0,
      held: 1,
      fork: undefined,
      over: undefined,
      wasOther: false,
    });
    await session.append(content, "snapshot");
    return session;
  }

  /** Reads a session with all its checks: chain and acceptances, keys from members of the log, every update after the last snapshot. */
  static load(device: Device, id: string): Promise<Session> {
    return Session.#read(device, id, {});
  }

  /**
   * The history that the broker has, where this device may have seen another: to be looked at, and gone on from once {@link claim} has ended the fork. What this
   * device had is in its own session, or document, until it reads anew.
   */
  static loadOther(device: Device, id: string): Promise<Session> {
    return Session.#read(device, id, { other: true });
  }

  static async #read(device: Device, id: string, reading: Reading): Promise<Session> {
    const session = new Session(device, id, await load(device, id, reading));
    if (!session.isForked) await session.#pin();
    // From here on what it keeps is of this history.
    session.#known.over = undefined;
    return session;
  }

  /**
   * Tells the broker, once for each snapshot, that this device has made use of what it read: what that covers may go. Whether the broker heard is its own affair:
   * it keeps more, that is all. A document does it by itself.
   */
  async acknowledge(): Promise<void> {
    if (this.isForked || this.#known.snapshot === 0 || !this.device.isNewSnapshot(this.id, this.#known.snapshot)) return;
    const { seq, hash } = this.head;
    await this.post("acknowledge", "session:read", { seq, hash }).catch(() => undefined);
  }

  /** @internal Who wrote its content. */
  get writer(): string {
    return this.#known.lastBy ?? this.chain.holder;
  }

  /** Whether this device may write, as far as it knows. */
  get isHeld(): boolean {
    return this.#known.held !== undefined;
  }

  /** Whether this device has seen another history of it than this one: nothing is written until a full device's {@link claim} has named both. */
  get isForked(): boolean {
    return this.#known.fork !== undefined;
  }

  /** @internal Whether this device had seen another history, which is over, and its document has not been brought over yet. */
  get wasOther(): boolean {
    return this.#known.wasOther;
  }

  /** @internal It has. */
  broughtOver(): Promise<void> {
    this.#known.wasOther = false;
    return this.#pin();
  }

  /** @internal */
  needOneHistory(): void {
    if (this.isForked) throw new Refused("handoff.forked", "another chain than was seen before");
  }

  /** The epoch at which this device writes; refused when it does not hold the session. */
  heldEpoch(): number {
    this.needOneHistory();
    if (this.#known.held === undefined) throw new Refused("handoff.not_holder", "not the holder");
    return this.#known.held;
  }

  /** Whether this device may write though it does not hold the session. */
  get isSharedHere(): boolean {
    return this.chain.mode === "shared" && this.device.tier === "full";
  }

  /**
   * Writes the content. Acknowledged means durable. When the session has moved on, the write is kept as a branch; in a shared one the app reads on
   * ({@link follow}) and writes again. With `onto`, the hash of the head that the content has in it, one that was read meanwhile is `state.conflict`.
   */
  write(content: Uint8Array, onto?: string): Promise<Written> {
    return this.alone(() => {
      if (onto !== undefined && this.head.hash !== onto) throw new Refused("state.conflict", "read on meanwhile");
      return this.#write(content);
    });
  }

  async #write(content: Uint8Array): Promise<Written> {
    this.needOneHistory();
    if (!this.isHeld && this.isSharedHere) return this.#writeAlong(content);
    // What was released or taken is not written into it any more, whatever a broker would take.
    if (!this.isHeld) {
      if (this.chain.holder === this.device.did) return this.#late(content);
      if (!this.#isLate) throw new Refused("handoff.not_holder", "not the holder");
      return this.writeBeside(content);
    }
    const [unanswered, head] = [this.#unanswered, this.head.hash];
    // Under a new key everything is written anew: who has no other reads from there.
    let kind: "snapshot" | "update";
    try {
      kind = (await lookAfterKey(this)) ? "snapshot" : "update";
    } catch (error) {
      // Somebody is out, and another has the session.
      if (!(error instanceof Refused) || error.code !== "handoff.fenced" || this.isSharedHere) throw error;
      return this.#late(content);
    }
    this.#needStillAt(head);
    try {
      return { to: "session", head: await this.append(content, kind) };
    } catch (error) {
      const code = error instanceof Refused ? error.code : "";
      if (code === "handoff.fenced" && this.isSharedHere) this.#known.held = undefined;
      else if (code === "handoff.fenced") return this.#late(content, (error as Refused).members["epoch"]);
      if (code === "state.conflict") {
        // An earlier write of its own, whose answer was lost, may have moved the head. Anything else, another tab's for one, is for the app to look at.
        await this.readOn();
        this.heldEpoch();
        if (unanswered === undefined || unanswered !== this.head.hash) throw error;
        return { to: "session", head: await this.append(content, "update") };
      }
      if (code === "state.rekey_required") {
        try {
          await rekey(this);
        } catch (refused) {
          // Released meanwhile, in another window of this device.
          if (refused instanceof Refused && refused.code === "handoff.fenced") return this.#late(content);
          throw refused;
        }
        this.#needStillAt(head);
        return { to: "session", head: await this.append(content, "snapshot") };
      }
      throw error;
    }
  }

  /** What is written is at the head that whoever wrote it had read: looking after the key may have read on. */
  #needStillAt(head: string): void {
    if (this.head.hash !== head) throw new Refused("state.conflict", "read on meanwhile");
  }

  /** @internal All of the present content, written anew under a key that is good. */
  async snapshot(): Promise<void> {
    await lookAfterKey(this);
    try {
      await this.append(this.content, "snapshot");
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "state.rekey_required") throw error;
      // The broker knows of somebody who left, and this device did not yet.
      await rekey(this);
      await this.append(this.content, "snapshot");
    }
  }

  /**
   * Writes into a shared session that another device holds: bringing in a new key is the holder's, and until it has, nothing is written that somebody who is out
   * could read.
   */
  async #writeAlong(content: Uint8Array): Promise<Written> {
    await this.#needToItself();
    return { to: "session", head: await this.append(content, "update") };
  }

  /** Refuses to seal anything under a key that somebody has who is out, and for a session that was released. */
  async #needToItself(): Promise<void> {
    if (this.chain.released) throw new Refused("handoff.fenced", "released");
    if (!(await isToItself(this))) throw new Refused("state.rekey_required", "somebody is out");
  }

  /**
   * @internal Brings in a new key where this device holds the session and somebody who is out has the present one, and writes everything anew under it: in a shared
   * session the others wait for that.
   */
  keepToItself(): Promise<void> {
    return this.alone(async () => {
      if (this.isHeld && this.chain.mode === "shared" && (await lookAfterKey(this))) await this.append(this.content, "snapshot");
    });
  }

  async #late(content: Uint8Array, epoch?: unknown): Promise<Written> {
    this.#known.held = undefined;
    this.#isLate = true;
    if (!(await isToItself(this))) {
      // Whoever has the session now has kept that device out of it, or will.
      await this.readOn();
      return this.writeBeside(content);
    }
    await this.post("branches", "session:write", await this.#sealed(content, "update"));
    return { to: "branch", epoch: typeof epoch === "number" ? epoch : this.chain.epoch + 1 };
  }

  /** @internal Beside the session, as of the last epoch at which this device held it: edits that were made then, and come now. */
  async writeBeside(content: Uint8Array): Promise<Written> {
    const epoch = this.chain.lastHeldBy(this.device.did);
    if (epoch === undefined) throw new Refused("handoff.not_holder", "never held it");
    if (!(await isToItself(this))) throw new Refused("state.rekey_required", "somebody is out");
    await this.post("branches", "session:write", await this.#sealed(content, "update", epoch));
    return { to: "branch", epoch: this.chain.epoch };
  }

  /** Tells the broker that this device is still there: a lease lasts 45 s. */
  async heartbeat(): Promise<void> {
    await this.post("heartbeat", "session:write", { epoch: this.heldEpoch() });
  }

  /** Reads what others wrote since. What was read before is acknowledged. */
  follow(): Promise<void> {
    return this.alone(async () => {
      await this.acknowledge();
      this.wrote.clear();
      const { chain, content } = this;
      await this.readOn();
      // What stood in another history, which is over, is not in this one, and not lost either.
      if (!this.chain.continues(chain.last)) this.beside.push({ device: this.device.did, epoch: chain.epoch, content, counts: false });
    });
  }

  /** @internal {@link follow}, of what is acknowledged elsewhere. */
  reread(): Promise<void> {
    return this.alone(() => this.readOn());
  }

  /** @internal {@link reread}, within a turn. */
  async readOn(): Promise<void> {
    const { wrote } = this;
    const fresh = await Session.#read(this.device, this.id, { known: { last: this.chain.last, keys: this.keys } }).catch((error: unknown) => {
      if (error instanceof Refused && error.code === "handoff.forked") Object.assign(this.#known, { fork: this.#known.fork ?? "known", held: undefined });
      throw error;
    });
    this.#known = fresh.#known;
    for (const writer of wrote) this.wrote.add(writer);
    if (this.isHeld) this.#isLate = false;
  }

  /** Ends the session for good. */
  async end(): Promise<void> {
    this.needOneHistory();
    await this.post("end", "session:write", {});
    this.#known.held = undefined;
  }

  /** Brings in a new key: required after a revocation, and when the session leaves a limited device. */
  rekey(): Promise<void> {
    return this.alone(() => rekey(this));
  }

  /** Claims a session that nobody holds, from the head this device knows, with a new key. On {@link loadOther another history} it ends the fork. */
  claim(): Promise<void> {
    return this.alone(() => this.#claim());
  }

  async #claim(): Promise<void> {
    const { device } = this;
    if (this.#known.fork === "known") this.needOneHistory();
    const also = typeof this.#known.fork === "object" ? { also: this.#known.fork.other } : {};
    if (!this.keys.has(this.chain.keyVersion)) throw new Refused("handoff.no_key", "no key");
    const { key, envelope, recipients } = await newKey(this);
    const from = this.head;
    const signed = await this.sign(this.chain.epoch + 1, { kind: "claim", from, ...also, key_version: key.version, envelope: hash(envelope) });
    const audience = device.kept.servers.broker;
    const data = [agreed("baton.claim", { session: this.id, from, statement: signed.hash })];
    const answer = await device.presenting(async () => {
      const presentation = await device.present({ audience, nonce: await device.nonce(audience), data });
      return this.post("claim", "handoff:accept", { statement: signed.text, envelope, presentation });
    });
    // It is ended once the broker's acceptance was seen, and not before.
    await needAccepted(device, answer.accepted, this.id, signed.hash);
    if (typeof this.#known.fork === "object") [this.#known.over, this.#known.wasOther] = [this.#known.fork.other, true];
    await this.#goOn(signed);
    [this.#known.fork, this.#known.over] = [undefined, undefined];
    this.holdKey(key, recipients);
    this.hold();
    await this.append(this.content, "snapshot");
  }

  /** What the session needs of the device it is on, as its holder said last. */
  get needs(): Needs {
    return this.#known.needs;
  }

  /** It needs this from the next write on. */
  require(needs: Needs): void {
    this.#known.needs = readNeeds(needs);
  }

  /** What the app has to adapt to on this device. */
  get adapt(): string[] {
    return fit(this.#known.needs, this.device.capabilities).adapt;
  }

  /**
   * The person's other devices that can take it: what each said of itself has what the session needs. A hint for whoever chooses; identity tells it to full
   * devices alone, and others see none.
   */
  async takers(): Promise<Taker[]> {
    const members = await this.device.members();
    const theirs = members.labels.filter(({ device }) => device !== this.device.did && members.tierOf(device) !== undefined);
    const fits = theirs.map(({ device, name, capabilities = [] }) => ({ device, name, ...fit(this.#known.needs, capabilities) }));
    return fits.filter(({ lacks }) => lacks.length === 0).map(({ device, name, adapt }) => ({ device, name, adapt }));
  }

  /** @internal What this device shows of the session, for those who have it. */
  async sealView(view: Uint8Array): Promise<SealedView> {
    this.needOneHistory();
    return sealView(this.id, this.device.did, this.key, this.device.http.around.random(12), view);
  }

  /** What another device shows of this session; `undefined` when it shows another, nothing, or something under a key that is not good any more. */
  async viewOn({ device, session, view }: Present): Promise<Uint8Array | undefined> {
    if (session !== this.id || view?.key_version !== this.chain.keyVersion) return undefined;
    return openView(view, this.id, device, this.key);
  }

  /** Late updates kept beside the session, opened. */
  branches(): Promise<Branch[]> {
    return readBranches(this);
  }

  /** Seals what this device says of the session just now, at most 3 KiB: for an {@link Outbox}. Nobody keeps it. */
  async volatile(content: Uint8Array): Promise<SealedUpdate> {
    this.needOneHistory();
    if (!this.isHeld && !this.isSharedHere) throw new Refused("handoff.not_holder", "not the holder");
    await this.#needToItself();
    return this.#heard.seal(this, content);
  }

  /**
   * Opens what a stream told of this session; nothing when it is older than what was heard before. Refused when it is of another session, of an epoch or under a
   * key that this device does not know (it follows then), or by a device that may not write into it.
   */
  hear(update: SealedUpdate): Promise<Uint8Array | undefined> {
    return this.#heard.open(this, update);
  }

  /** @internal Seals and sends one update at this session's head. */
  async append(content: Uint8Array, kind: "update" | "snapshot"): Promise<Head> {
    await this.#keepAside();
    const update = await this.#sealed(content, this.#known.sinceSnapshot < SNAPSHOT_EVERY ? kind : "snapshot");
    this.#unanswered = updateHash(update);
    // Over the stream where there is one; whatever comes of that but that it stands, it is posted, which takes it once alone.
    if (!(await [...this.device.lines].pop()?.write(update))) await this.post("updates", "session:write", update);
    this.#known.head = { epoch: update.epoch, seq: update.seq, hash: this.#unanswered };
    this.#unanswered = undefined;
    this.#known.content = content;
    this.#known.used = update.seq;
    this.#known.sinceSnapshot = update.kind === "snapshot" ? 0 : this.#known.sinceSnapshot + 1;
    await this.#pin();
    return this.head;
  }

  /**
   * What the session has and this content has not, for whoever wrote it is out, is written over next: whoever reads it then finds it beside the session, where
   * nothing is forgotten.
   */
  async #keepAside(): Promise<void> {
    const { aside } = this.#known;
    if (!aside) return;
    try {
      await this.post("branches", "session:write", aside);
    } catch (error) {
      // Where there is no room the person was told of it all the same.
      if (!(error instanceof Refused) || error.code !== "state.quota") throw error;
    }
    this.#known.aside = undefined;
  }

  /** @internal Says something in the chain, not yet sent. */
  sign(epoch: number, act: Act): Promise<Signed> {
    return signStatement({ session: this.id, epoch, prev: this.chain.last, device: this.device.did, act }, this.device.signer);
  }

  /** @internal Acts on an own statement only now that the broker has accepted it. */
  async take(answer: { accepted: string }, signed: Signed): Promise<void> {
    await needAccepted(this.device, answer.accepted, this.id, signed.hash);
    await this.#goOn(signed);
  }

  /** The broker's acceptance was seen. */
  #goOn(signed: Signed): Promise<void> {
    this.chain.apply(signed);
    return this.#pin();
  }

  /** @internal From here on this device holds the session, or no longer does. */
  hold(holds = true): void {
    this.#known.held = holds ? this.chain.epoch : undefined;
    if (holds) this.#isLate = false;
  }

  /** @internal The newest key. */
  get key(): SessionKey {
    const key = this.keys.get(this.chain.keyVersion);
    if (!key) throw new Refused("handoff.no_key", "no key");
    return key;
  }

  /** @internal From here on this is the newest, and these have it. */
  holdKey(key: SessionKey, recipients: Set<string>): void {
    this.keys.set(key.version, key);
    this.#known.recipients = recipients;
  }

  #sealed(content: Uint8Array, kind: SealedUpdate["kind"], epoch = this.chain.epoch): Promise<SealedUpdate> {
    this.needOneHistory();
    const { key } = this;
    const place = { session: this.id, epoch, seq: this.head.seq + 1, prev: this.head.hash, key_version: key.version, kind };
    return sealUpdate(place, { content, needs: this.#known.needs }, this.device.signer, key, this.device.http.around.random(12));
  }

  /** @internal */
  post(verb: string, scope: string, json: object): Promise<{ accepted: string }> {
    return this.device.broker({ scope, path: `/v1/sessions/${this.id}/${verb}`, session: this.id, json });
  }

  #pin(): Promise<void> {
    const { chain, head, used } = this;
    const pin = { chain: chain.last, n: chain.length, seq: head.seq, hash: head.hash, used, added: [...this.#known.added], ...(this.#known.wasOther ? { wasOther: true } : {}) };
    return this.device.setPin(this.id, pin, chain, this.#known.over);
  }
}
