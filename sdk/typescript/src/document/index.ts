/**
 * `@baton/sdk/document`: a session whose content is a document. Edits of several devices come together instead of one replacing the other, also those that
 * came too late for the session and were kept beside it (docs/protocol.md §7, Documents).
 */

import type { Doc } from "yjs";
import type { Device } from "../device.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";
import { Turns } from "../store.js";
import type { Branch } from "../session/branches.js";
import { Session, type Opening, type Written } from "../session/session.js";
import { MAX_CONTENT, MAX_VOLATILE, type SealedUpdate } from "../session/update.js";
import type { Outdone } from "./registers.js";
import { keep, takeInOrSetAside } from "./replica.js";
import { State, type Merged } from "./state.js";

export { State, type Merged } from "./state.js";
export type { Outdone } from "./registers.js";
export { Replica } from "./replica.js";

/** How often a write is tried that another was quicker than. */
const TRIES = 8;
/** Most that late edits may bring a document to: room is left for the holder's own. */
const MOST = MAX_CONTENT - 32 * 1024;

/** What reading a session brought. */
export interface Changes {
  /** Whether anything is other than it was here. */
  changed: boolean;
  /** Which other devices wrote into the session what this one had not seen. */
  by: string[];
  /** What was kept here could not be opened (damaged, or another device's): it is set aside, and no part of the document. */
  setAside: boolean;
  /**
   * Registers that were set here and were not in the session yet, in whose place another device's value stands: for the person to choose. Told once in a run.
   */
  outdone: Outdone[];
  /** Every late edit kept beside the session, told each time. Those of the person's own devices are in this document, whoever holds the session. */
  late: Late[];
}

/** Edits that came too late for the session: their device wrote them offline, or while another took over. */
export interface Late {
  device: string;
  epoch: number;
  outcome: Outcome;
}

/** What became of late edits. */
export type Outcome =
  /** They were in the document before. */
  | { is: "known" }
  /** They are in it now. Registers that others have set since stand as those say; what the late one said is for the person to choose. */
  | { is: "merged"; outdone: Outdone[] }
  /**
   * They are no document, too much for this one, or of a device that is not, or was not then, to write: for the person to look at, side by side, and to
   * {@link Document.merge}.
   */
  | { is: "beside"; content: Uint8Array }
  /** This device cannot read them: they are older than its key, or no edits at all. */
  | { is: "unreadable" };

/** A document in a session. */
export class Document {
  /** The session had a document when it was read: what comes after that and is none is somebody's mistake, or worse. */
  #wasOne = false;
  /** The hash of the session's head that is in the state. */
  #merged = "";
  /** Reading and saving come one after another: what is written is at the head that was read into it. */
  readonly #turns = new Turns();
  /** What was taken in and is not told yet: by saving, or by a reading that failed. */
  #meanwhile = { changed: false, by: new Set<string>() };
  /** What stood beside the session when it was read on by saving, and is not told yet. */
  #untold: Branch[] = [];
  /** Late edits that are in this document, and in nobody's yet who has only read the session. */
  #beside: { content: Uint8Array; epoch: number }[] = [];
  /** Late edits that brought nothing when they were last looked at, by the hash of their content. */
  readonly #taken = new Set<string>();

  private constructor(
    /** Its session: to offer, to keep alive, to hand over. Save before. */
    readonly session: Session,
    /** Its state. Edits are this device's own until they are saved, with or without a network. */
    readonly state: State,
  ) {}

  /** Opens a session with an empty document. */
  static async open(device: Device, opening?: Opening): Promise<Document> {
    const state = fresh(device);
    const document = new Document(await Session.open(device, state.encode(), opening), state);
    document.#wasOne = true;
    document.#merged = document.session.head.hash;
    return document;
  }

  /** The document of a session that was loaded, taken over or claimed, with what late edits there are. Refused when its content is something else. */
  static async of(session: Session): Promise<{ document: Document; changes: Changes }> {
    const document = new Document(session, fresh(session.device));
    return { document, changes: await document.#takeIn() };
  }

  /** To read and edit with Yjs. */
  get doc(): Doc {
    return this.state.doc;
  }

  /** A register's value. */
  get(name: string): unknown {
    return this.state.get(name);
  }

  /** Sets a register: a value of which only the last counts. */
  set(name: string, value: unknown): void {
    this.state.set(name, value, this.session.chain.epoch, this.session.device.did);
  }

  /** Keeps it on this device as it is now, sealed: {@link Replica} reads it without a network. Saving does this first. */
  keep(): Promise<void> {
    return this.#keep(this.session.content);
  }

  /** Of which `there` is elsewhere as well. */
  #keep(there: Uint8Array): Promise<void> {
    const { content, device, id, chain, wasOther } = this.session;
    const late = this.#isLate ? { content, after: this.#lastHeld } : undefined;
    return keep(device, id, chain.epoch, this.state, { there, wasOther, late });
  }

  /** Reads what others wrote since, into what is here. */
  follow(): Promise<Changes> {
    return this.#turns.take(async () => {
      await this.session.reread();
      return this.#takeIn();
    });
  }

  async #takeIn(): Promise<Changes> {
    const { session } = this;
    // What this device has written itself, in another tab or before it was started again.
    const kept = await takeInOrSetAside(session.device, session.id, this.state);
    this.#wasOne ||= kept === "taken in";
    if (session.wasOther) this.state.layDown(session.chain.epoch);
    const late: Late[] = [];
    this.#noteWriters();
    try {
      if (this.state.merge(session.content, session.chain.epoch).changed) this.#meanwhile.changed = true;
      this.#merged = session.head.hash;
      this.#wasOne = true;
    } catch (error) {
      if (!this.#wasOne || !isRefused(error, "state.form")) throw error;
      // Somebody wrote what is none over it. What this device has of it goes on.
      late.push({ device: session.writer, epoch: session.head.epoch, outcome: { is: "beside", content: session.content } });
    }
    if (late.length === 0) {
      this.state.settle(session.content);
      // Before it is told.
      if (this.#giveWay()) await this.keep();
      if (session.wasOther) {
        await this.keep();
        await session.broughtOver();
      }
    }
    // Nothing goes of which this device has not all.
    if (late.length === 0 && session.beside.length + this.#untold.length === 0) await session.acknowledge();
    const branches = [...(await session.branches()), ...this.#untold, ...session.beside];
    this.#untold = [];
    this.#beside = [];
    const told = new Set<string>();
    for (const { device, epoch, content, counts } of branches) {
      // Also while somebody is about to write over it.
      const one = content && [device, epoch, hash(content)].join(" ");
      if (one && told.has(one)) continue;
      if (one) told.add(one);
      const { outcome, moved } = content ? this.#late(content, epoch, counts) : { outcome: { is: "unreadable" } as const, moved: false };
      late.push({ device, epoch, outcome });
      // What does not count is in nobody else's document, whatever the person took in here.
      if (content && counts && (outcome.is === "known" || outcome.is === "merged")) this.#beside.push({ content, epoch });
      if (moved) this.#meanwhile.changed = true;
    }
    const { changed, by } = this.#meanwhile;
    this.#meanwhile = { changed: false, by: new Set() };
    return { changed, by: [...by], setAside: kept === "set aside", outdone: this.state.takeOvertaken(), late };
  }

  /** What was set here too late stands here no more. */
  #giveWay(): boolean {
    const { content, chain, device } = this.session;
    const gave = this.#isLate && this.state.giveWay(content, this.#lastHeld, chain.epoch, device.did);
    if (gave) this.#meanwhile.changed = true;
    return gave;
  }

  /** What becomes of a late edit, and whether the document is other than it was. */
  #late(content: Uint8Array, epoch: number, counts: boolean): { outcome: Outcome; moved: boolean } {
    const named = hash(content);
    if (this.#taken.has(named)) return { outcome: { is: "known" }, moved: false };
    try {
      // Of what does not count not even the registers are taken in. Where there is nothing new in it, nobody is asked.
      if (!counts && this.state.copy().merge(content, epoch, MOST).changed) return { outcome: { is: "beside", content }, moved: false };
      if (!counts) {
        this.#taken.add(named);
        return { outcome: { is: "known" }, moved: false };
      }
      const { changed, outdone } = this.state.merge(content, epoch, MOST);
      // One that is outdone is told each time, for the person to choose.
      if (changed || outdone.length > 0) return { outcome: { is: "merged", outdone }, moved: changed };
      this.#taken.add(named);
      return { outcome: { is: "known" }, moved: false };
    } catch (error) {
      if (!isRefused(error, "state.form", "state.size")) throw error;
      return { outcome: { is: "beside", content }, moved: false };
    }
  }

  /** Takes in edits that stood beside the document, because the person says so. */
  merge(content: Uint8Array): Merged {
    const merged = this.state.merge(content, this.session.chain.epoch, MOST);
    this.#taken.add(hash(content));
    return merged;
  }

  /** Seals its registers for whoever listens now: for an {@link Outbox}. They reach the others at once, and the session with the next save. */
  async volatile(): Promise<SealedUpdate> {
    const registers = this.state.encodeRegisters();
    if (registers.length > MAX_VOLATILE) throw new Refused("state.size", "too large");
    return this.session.volatile(registers);
  }

  /** Takes in what another device says just now; true when anything is other than it was. {@link Session.hear} says what is refused. */
  async hear(update: SealedUpdate): Promise<boolean> {
    const said = await this.session.hear(update);
    return said !== undefined && this.state.merge(said, this.session.chain.epoch).changed;
  }

  /**
   * Keeps it here, and writes what is not in the session yet; nothing when all of it is. When the session has moved on, it is kept beside it, and merged by
   * whoever reads it. Without a network it fails, and everything stays here for the next time, also when that is after another start.
   */
  async save(): Promise<Written | undefined> {
    // At once, whatever is under way: a reading that waits for a network holds up nothing here.
    await this.keep();
    return this.#turns.take(() => this.#save());
  }

  async #save(): Promise<Written | undefined> {
    for (let tries = 1; ; tries++) {
      this.#catchUp();
      this.#giveWay();
      const content = this.state.encode();
      if (content.length > MAX_CONTENT) throw new Refused("state.size", "too large");
      if (this.#isThere(content)) {
        // A register that came too late for what lies beside the session is nowhere, and says so when it is overtaken.
        if (this.#writesIntoIt) this.state.settle(content);
        await this.session.keepToItself();
        return undefined;
      }
      try {
        const written = await this.#write(content);
        // What is elsewhere now is not told as overtaken after another start.
        if (this.state.settle(content)) await this.#keep(content);
        return written;
      } catch (error) {
        const moved = this.session.isSharedHere ? ["handoff.fenced", "state.rekey_required"] : [];
        if (!isRefused(error, "state.conflict", ...moved) || tries >= TRIES) throw error;
        // Another window of this device was quicker, or in a shared session another device, which may have brought in a new key or taken it.
        const { keyVersion, holder } = this.session.chain;
        await this.session.reread();
        // Nobody has brought in another key yet: that is not waited for here.
        const isSame = this.session.chain.keyVersion === keyVersion && this.session.chain.holder === holder;
        if (isSame && isRefused(error, "state.rekey_required")) throw error;
      }
    }
  }

  /** Whether it writes into the session, as far as this device knows. */
  get #writesIntoIt(): boolean {
    return this.session.isHeld || this.session.isSharedHere;
  }

  /** Who wrote is told once, by whichever reading comes next. */
  #noteWriters(): void {
    for (const writer of this.session.wrote) this.#meanwhile.by.add(writer);
    this.session.wrote.clear();
  }

  /** Takes in what the session has been read on to behind this document's back: nothing is written over it. */
  #catchUp(): void {
    const { session } = this;
    if (this.#merged === session.head.hash) return;
    this.#noteWriters();
    this.#untold.push(...session.beside);
    try {
      if (this.state.merge(session.content, session.chain.epoch).changed) this.#meanwhile.changed = true;
    } catch (none) {
      if (!isRefused(none, "state.form")) throw none;
    }
    this.#merged = session.head.hash;
  }

  async #write(content: Uint8Array): Promise<Written> {
    const { session } = this;
    const isLate = !this.#writesIntoIt && session.chain.holder !== session.device.did;
    // Also what was written while this device held the session, and was kept through a start: that goes beside it now.
    const written = await (isLate ? session.writeBeside(content) : session.write(content, this.#merged));
    if (written.to === "branch") this.#beside.push({ content, epoch: this.#lastEpoch });
    else this.#merged = written.head.hash;
    return written;
  }

  /** Whether what this device sets now is too late: another holds the session. Of one with two histories this device's own may yet be the one that goes on. */
  get #isLate(): boolean {
    return !this.#writesIntoIt && !this.session.isForked;
  }

  /** The last epoch at which this device held the session; 0 when it never did. */
  get #lastHeld(): number {
    return this.session.chain.lastHeldBy(this.session.device.did) ?? 0;
  }

  /** Up to which what it writes counts. */
  get #lastEpoch(): number {
    const { chain, device } = this.session;
    return this.#writesIntoIt ? chain.epoch : (chain.lastHeldBy(device.did) ?? chain.epoch);
  }

  /** Whether the session has all of this, or it lies beside it and is for another to bring in. What is no document has nothing. */
  #isThere(content: Uint8Array): boolean {
    const there = new State(new Uint8Array(4));
    try {
      there.merge(this.session.content, this.session.chain.epoch);
    } catch (error) {
      if (!isRefused(error, "state.form")) throw error;
      // Its holder writes a document over it; whoever is not looks at what lies beside it alone.
      if (this.#writesIntoIt) return false;
    }
    for (const beside of this.#writesIntoIt ? [] : this.#beside) there.merge(beside.content, beside.epoch);
    try {
      return !there.merge(content, this.#lastEpoch).changed;
    } catch (error) {
      // What is here was accepted bit by bit: together it is too much.
      if (isRefused(error, "state.form")) throw new Refused("state.size", "too large");
      throw error;
    }
  }
}

function isRefused(error: unknown, ...codes: string[]): boolean {
  return error instanceof Refused && codes.includes(error.code);
}

function fresh(device: Device): State {
  for (;;) {
    const client = device.http.around.random(4);
    if (client.some((byte) => byte !== 0)) return new State(client);
  }
}
