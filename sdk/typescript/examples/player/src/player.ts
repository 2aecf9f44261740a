/** The film on this device: shown, edited, kept without a network. */

import { Outbox, Refused, Session, issuerFingerprint, type Device, type Needs, type Present, type ReplaceRoot, type Showing, type VolatileFrame } from "@baton/sdk";
import { Document, Replica, type Changes } from "@baton/sdk/document";
import { LENGTH, addNote, begin, clock, nothing, read, type Film, type Now, type Reel } from "./film.js";
import { Handing } from "./handing.js";
import { paint } from "./paint.js";
import { page, say, tellError } from "./page.js";
import { Summary } from "./summary.js";
import { words } from "./words.js";

/** A film is for devices that can show it; on a small screen it goes on as well. */
const NEEDS: Needs = { needs: [["video"]], adapts: ["screen:large"] };

export class Player {
  /** As it stood when {@link Now} was set; {@link at} says where it is. */
  film: Film = nothing;
  /** The film's session, once there was a network. */
  document: Document | undefined;
  /** The person is replacing their root, and this device is asked to agree. */
  replacing: ReplaceRoot | undefined;
  /** What this device says of the film while it moves. */
  readonly outbox = new Outbox();
  /** The film as this device keeps it, until there is a network. */
  #replica: Replica | undefined;
  /** There is no network, and the person was told. */
  isAway = false;
  /** The person does not want it here, until it is handed here or the player is started anew. */
  #isPutAway = false;
  /** When the film was where {@link Now} says. */
  #since = performance.now();
  /** Changes that are not durable yet, and of them those that this device has not kept. */
  #unkept = 0;
  #unkeptHere = 0;
  /** Something of it may be nowhere else yet. */
  #isDirty = false;
  #keeping: Promise<void> = Promise.resolve();
  #names = new Map<string, string>();
  #lastLook: Promise<void> = Promise.resolve();
  #nextLook: Promise<void> | undefined;
  readonly handing = new Handing(this);
  readonly #summary = new Summary(
    (device) => this.#nameOf(device),
    (now) => this.move(now),
    (content) => this.edit(() => void this.document?.merge(content)),
  );

  constructor(readonly device: Device) {}

  get session(): Session | undefined {
    return this.document?.session;
  }

  /** Without a network this device goes on as if it held the film: whoever reads it later has both. */
  get isHeld(): boolean {
    return this.session?.isHeld ?? this.#replica !== undefined;
  }

  /** Something of it is only here, or nobody could be reached. */
  get isUnsaved(): boolean {
    return this.isAway || this.#isDirty;
  }

  get isSaving(): boolean {
    return this.#unkeptHere > 0 || (this.#unkept > 0 && !this.isAway);
  }

  /** Whether it may ask for the film. */
  get mayBring(): boolean {
    return this.session !== undefined && !this.session.isHeld && this.device.tier === "full" && !this.handing.isAsking && !this.isAway;
  }

  /** Whether it may write notes into a film that plays elsewhere. */
  get mayWrite(): boolean {
    return this.isHeld || this.session?.isSharedHere === true;
  }

  /** Where the film is now: while it runs nobody writes that down. */
  get at(): number {
    const { at, rate } = this.film.now;
    return Math.min(LENGTH, at + (rate * (performance.now() - this.#since)) / 1000);
  }

  get #reel(): Reel | undefined {
    return this.document ?? this.#replica;
  }

  /** Changes the film, here and durably. One write after another, each with what is newest. */
  edit(act: (reel: Reel) => void): Promise<void> {
    const reel = this.#reel;
    if (!reel) return Promise.resolve();
    act(reel);
    this.#isDirty = true;
    this.#unkept++;
    this.#unkeptHere++;
    this.#refresh();
    // On this device at once, whatever the network does.
    const here = reel.keep().finally(() => {
      this.#unkeptHere--;
      this.paint();
    });
    const there = this.#sync().finally(() => {
      this.#unkept--;
      this.#refresh();
    });
    return Promise.all([here, there]).then(() => undefined);
  }

  /** Brings what is nowhere else yet into the session. */
  #sync(): Promise<void> {
    const kept = this.#keeping.then(() => (this.#isDirty ? this.#save() : undefined));
    this.#keeping = kept.catch(() => undefined);
    return kept;
  }

  async #save(): Promise<void> {
    if (!this.document) return this.#replica?.keep();
    this.#isDirty = false;
    try {
      if ((await this.document.save())?.to === "branch") say(words.beside);
    } catch (error) {
      // It is kept here, for saving begins with that: until there is a network, whoever holds the film has kept a lost device out of it, or whoever takes it has it.
      this.#isDirty = true;
      if (isRefused(error, "transport")) this.lose();
      else if (!isRefused(error, "state.rekey_required") && !isRefused(error, "handoff.fenced")) throw error;
    }
  }

  /** Moves it: said at once to whoever looks on, and kept. */
  move(now: Partial<Now>): Promise<void> {
    const kept = this.edit((reel) => reel.set("now", { ...this.film.now, at: this.at, ...now }));
    const { document } = this;
    if (document && !this.isAway) void this.outbox.say(document.session.id, () => document.volatile()).catch(() => undefined);
    return kept;
  }

  note(text: string): Promise<void> {
    return this.edit((reel) => addNote(reel, { film: this.film.now.film, at: Math.floor(this.at), text }));
  }

  /** What another device says just now. */
  async hear({ update }: VolatileFrame): Promise<void> {
    if (update.session === this.session?.id && (await this.document?.hear(update))) this.#refresh();
  }

  /** The network is gone. */
  lose(): void {
    this.isAway = true;
    say(words.offline);
    this.paint();
  }

  /** Reads how things stand: after an event, at the start, and when the network is back. One look is under way at most, and one waits, for all that happens meanwhile. */
  look(): Promise<void> {
    return (this.#nextLook ??= this.#lastLook.then(() => {
      this.#nextLook = undefined;
      const look = this.#look().catch(async (error: unknown) => {
        const isOut = isRefused(error, "status.revoked");
        if (!isOut && !isRefused(error, "transport")) throw error;
        // What was written here is the person's, whatever became of the device.
        if (!this.#reel) await this.#openKept();
        if (!isOut) return this.lose();
        this.isAway = true;
        this.paint();
        throw error;
      });
      this.#lastLook = look.catch(() => undefined);
      return look;
    }));
  }

  async #look(): Promise<void> {
    await this.handing.look();
    await this.#targets();
    if (this.document) await this.#follow(this.document);
    else if (!this.#isPutAway) await this.#open();
    if (this.isAway) say(words.back);
    this.isAway = false;
    await this.#showTargets();
    this.paint();
    await this.handing.answerUnasked();
  }

  async #follow(document: Document): Promise<void> {
    const before = this.film;
    // What was done here meanwhile goes first: of what came too late, others are to hear as well.
    if (this.mayWrite) await this.#sync().catch(tellError);
    // A limited device reads what it holds, and nothing it once held.
    if (!document.session.isHeld && this.device.tier !== "full") return;
    this.#tell(await document.follow(), before, this.isAway);
    // Its holder lets in who is new, and keeps out who is out.
    this.#isDirty ||= document.session.isHeld;
    if (this.mayWrite) await this.#sync().catch(tellError);
  }

  /** Shows the newest film of this person, or begins one. What this device kept of it is in it. */
  async #open(): Promise<void> {
    const full = this.device.tier === "full";
    const all = await Session.list(this.device);
    for (const { session, phase, holder } of all.reverse()) {
      if (phase !== "ended" && (full || holder === this.device.did)) {
        const kept = await Replica.load(this.device, session).catch(() => undefined);
        const loaded = await Session.load(this.device, session).catch((error: unknown) => {
          // Whoever holds it lets a newcomer in, and an event says so.
          if (isRefused(error, "handoff.no_key")) return undefined;
          throw error;
        });
        if (!loaded) return say(words.notYet);
        const opened = await Document.of(loaded).catch((error: unknown) => {
          // A session of another app, or of another version of this one.
          if (isRefused(error, "state.form")) return undefined;
          throw error;
        });
        if (!opened) continue;
        this.#isDirty = true;
        if (!kept) return this.#show(opened.document);
        return this.#show(opened.document, { changes: opened.changes, before: read(kept), wasAway: true });
      }
    }
    if (!full) return;
    const document = await Document.open(this.device, { needs: NEEDS, mode: "shared" });
    begin(document);
    this.#isDirty = true;
    await this.#show(document);
  }

  /** Shows what this device kept. */
  async #openKept(): Promise<void> {
    const newest = (await Replica.list(this.device)).sort().at(-1);
    this.#replica = newest === undefined ? undefined : await Replica.load(this.device, newest).catch(() => undefined);
    this.#refresh();
  }

  async #show(document: Document, since?: { changes: Changes; before: Film; wasAway: boolean }): Promise<void> {
    const old = this.document?.session ?? (this.#replica && { id: this.#replica.session });
    if (this.#reel && old?.id === document.session.id) {
      // What was written here while the other was read.
      document.state.merge(this.#reel.state.encode(), document.session.chain.epoch);
      this.#isDirty = true;
    }
    this.document = document;
    this.#replica = undefined;
    this.#refresh();
    if (since) this.#tell(since.changes, since.before, since.wasAway);
    this.#isPutAway = false;
    if (this.mayWrite) await this.#sync();
  }

  #tell(changes: Changes, before: Film, wasAway: boolean): void {
    this.#refresh();
    this.#summary.show(changes, { before, after: this.film, wasAway });
  }

  /** Goes on here with a session that this device has just been handed. */
  async take(session: Session): Promise<void> {
    const before = this.film;
    const { document, changes } = await Document.of(session);
    await this.#show(document, { changes, before, wasAway: false });
  }

  /** Nobody plays it any more. */
  async claim(): Promise<void> {
    await this.session?.claim();
    page.claim.hidden = true;
    await this.move({ rate: 0 });
  }

  #refresh(): void {
    const film = this.#reel ? read(this.#reel) : nothing;
    if (JSON.stringify(film.now) !== JSON.stringify(this.film.now)) this.#since = performance.now();
    this.film = film;
    this.paint();
  }

  async #targets(): Promise<void> {
    const members = await this.device.members();
    this.#names = new Map(members.labels.map(({ device, name }) => [device, name]));
    this.#asks(members.replaceRoot);
  }

  async #showTargets(): Promise<void> {
    // What the others can is told to full devices alone.
    const takers = this.session && this.device.tier === "full" ? await this.session.takers() : undefined;
    const all = (await this.device.recentMembers()).live.filter((did) => did !== this.device.did);
    const others = takers?.map(({ device }) => device) ?? all;
    page.target.replaceChildren(...others.map((did) => new Option(this.#nameOf(did), did, false, did === page.target.value)));
    const { waiting, asked } = this.handing;
    page.from.textContent = waiting ? words.handsOver(this.#nameOf(waiting.from)) : "";
    page.by.textContent = asked ? words.asksForIt(this.#nameOf(asked.by)) : "";
  }

  #nameOf(did: string): string {
    return did === this.device.did ? words.thisDevice : (this.#names.get(did) ?? did.slice(-8));
  }

  /** Whether the person's page asks something of this device. */
  async lookForQuestions(): Promise<void> {
    this.#asks((await this.device.members()).replaceRoot);
  }

  #asks(asked: ReplaceRoot | undefined): void {
    if (asked?.to === this.replacing?.to) return;
    this.replacing = asked;
    page.fingerprint.textContent = asked ? issuerFingerprint(asked.to) : "";
    page.replacing.hidden = !asked;
  }

  /** The person compared the fingerprints. */
  async agree(): Promise<void> {
    if (!this.replacing) return;
    await this.device.agree(this.replacing);
    page.replacing.hidden = true;
    say(words.agreed);
  }

  get title(): string {
    return `${this.film.now.film}, ${clock(this.at)}`;
  }

  /** What this window has in front, for the person's other devices. */
  showing(): Showing | undefined {
    return this.session && { session: this.session, view: new TextEncoder().encode(this.title) };
  }

  /** The person wants this film away from here. */
  putAway(): void {
    if (this.session?.isHeld) return;
    this.document = undefined;
    this.#isPutAway = true;
    say(words.putAway);
    this.#refresh();
  }

  /** The other devices that are there, and what they show. */
  async others(present: Present[]): Promise<void> {
    const line = async (one: Present): Promise<string> => {
      const view = await this.session?.viewOn(one).catch(() => undefined);
      return [this.#nameOf(one.device), one.status, ...(view ? [new TextDecoder().decode(view)] : [])].join(", ");
    };
    const lines = await Promise.all(present.map(line));
    page.there.replaceChildren(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }

  /** Draws everything as it is. */
  paint(): void {
    paint(this);
  }
}

const isRefused = (error: unknown, code: string): boolean => error instanceof Refused && error.code === code;
