/** Values of which only the last counts, such as a playback position: each replaces the one before and leaves no history. */

import { utf8 } from "../base64url.js";
import { strictJson } from "../jws.js";
import { hash } from "../key.js";
import { Refused } from "../refused.js";

/** Most registers of a document. */
const MOST = 64;
const LONGEST_NAME = 128;
/** As JSON. */
const LONGEST_VALUE = 4096;

/** One value, with where it stands among others of its name. */
interface Register {
  /** The session's epoch when it was set. */
  epoch: number;
  /** One more than what its device knew of at that epoch. */
  n: number;
  /** The device's DID. */
  by: string;
  /** JSON, as the device wrote it: read when it is asked for, compared as text. */
  value: string;
}

/** A register's value that another took the place of. */
export interface Outdone {
  name: string;
  /** The device that had set it. */
  by: string;
  value: unknown;
}

/** All of a document, by name. */
export class Registers {
  #all = new Map<string, Register>();
  /** What was set here and is, as far as this device knows, nowhere else yet. */
  #unsaved = new Map<string, Register>();
  /** What was, until another device's value took its place. */
  #overtaken = new Map<string, Register>();
  /** What was told of that: it is not told again, whatever another tab has kept. */
  #told = new Map<string, Register>();

  /** From how they are written; refuses what is none. */
  static parse(bytes: Uint8Array): Registers {
    const registers = new Registers();
    const all = Object.entries(read(bytes));
    if (all.length > MOST || !all.every(([name, one]) => isName(name) && isSound(one))) throw new Refused("state.form", "registers");
    registers.#all = new Map(all as [string, Register][]);
    return registers;
  }

  get(name: string): unknown {
    const register = this.#all.get(name);
    return register && valueOf(register);
  }

  names(): string[] {
    return [...this.#all.keys()].sort();
  }

  set(name: string, value: unknown, epoch: number, by: string): void {
    // Whoever sets it knows of what it is set over.
    const { epoch: before, n } = this.#all.get(name) ?? { epoch: 1, n: 0 };
    // Each epoch counts anew: whatever somebody counted to in one before, this one goes on.
    const register = { epoch: Math.max(epoch, before), n: epoch > before ? 1 : n + 1, by, value: JSON.stringify(value) };
    const room = this.#all.has(name) || this.#all.size < MOST;
    if (!room || !isName(name) || !isSound(register)) throw new Refused("state.form", "register");
    this.#all.set(name, register);
    this.#unsaved.set(name, register);
    // Set once more it is told once more; what this device had set before is not what anybody waits for.
    this.#told.delete(name);
    if (this.#overtaken.get(name)?.by === by) this.#overtaken.delete(name);
  }

  text(): string {
    return text(this.#all);
  }

  /** What {@link takeUnsaved} reads: also what was overtaken and is not told yet. */
  unsavedText(): string {
    const toldLater = [...this.#overtaken].filter(([name]) => !this.#unsaved.has(name)).sort(([a], [b]) => (a < b ? -1 : 1));
    // As many as are read again.
    return text(new Map([...this.#unsaved, ...toldLater.slice(0, Math.max(0, MOST - this.#unsaved.size))]));
  }

  /** What was set here in an earlier run and is nowhere else yet. What has been outdone meanwhile is overtaken; what does not stand was before. */
  takeUnsaved(other: Registers): void {
    for (const [name, theirs] of other.#all) {
      const ours = this.#all.get(name);
      const order = ours ? against(theirs, ours) : 1;
      if (order === 0) this.#unsaved.set(name, theirs);
      else if (order < 0) this.#overtake(name, theirs);
      else this.#giveUp(name, theirs);
    }
  }

  /** Another device's value stands where `own` was; one of this device's own other tabs takes nothing from anybody. */
  #overtake(name: string, own: Register): void {
    if (this.#all.get(name)?.by !== own.by) this.#giveUp(name, own);
  }

  /** It stands no more, and that is told once. */
  #giveUp(name: string, own: Register): void {
    const told = this.#told.get(name);
    if (!told || against(told, own) !== 0) this.#overtaken.set(name, own);
  }

  /** What another copy of the same was told. */
  takeTold(other: Registers): void {
    this.#told = new Map(other.#told);
  }

  /** These are in the session now: nobody has to be told what becomes of them. Whether any was not known to be. */
  settle(written: Registers): boolean {
    let settled = false;
    for (const all of [this.#unsaved, this.#overtaken]) {
      for (const [name, ours] of [...all]) {
        const there = written.#all.get(name);
        if (there && against(there, ours) === 0) settled = all.delete(name) || settled;
      }
    }
    return settled;
  }

  /** What was set here and overtaken before it was anywhere else: told once. */
  takeOvertaken(): Outdone[] {
    const overtaken = [...this.#overtaken].sort(([a], [b]) => (a < b ? -1 : 1));
    this.#overtaken.clear();
    for (const [name, own] of overtaken) this.#told.set(name, own);
    return overtaken.map(([name, own]) => outdoneOf(name, own));
  }

  /** What was set at epochs to which this history has not come was set in another, which is over: it is told as outdone. */
  layDown(after: number): void {
    for (const [name, one] of this.#all) {
      if (one.epoch <= after) continue;
      this.#all.delete(name);
      this.#unsaved.delete(name);
      this.#overtaken.set(name, one);
    }
  }

  /**
   * What this device set at an epoch until now at which it did not hold the session (it last did at `after`), and the session has not, counts for nobody else: what
   * the session has of it stands in its place, and it is told as outdone. Gives whether there was any.
   */
  giveWay(there: Registers, after: number, until: number, by: string): boolean {
    let gave = false;
    for (const [name, own] of [...this.#all]) {
      const stands = there.#all.get(name);
      if (own.by !== by || own.epoch <= after || own.epoch > until || (stands && against(stands, own) === 0)) continue;
      gave = true;
      this.#unsaved.delete(name);
      this.#all.delete(name);
      if (stands && stands.epoch <= until) this.#all.set(name, stands);
      this.#giveUp(name, own);
    }
    return gave;
  }

  /** Takes in those that count; says whether any did, and which did not: those of an epoch after `until` were set in none, and do not. */
  merge(other: Registers, until: number): { moved: boolean; outdone: Outdone[] } {
    let moved = false;
    const outdone: Outdone[] = [];
    for (const name of other.names()) {
      const [theirs, ours] = [other.#all.get(name), this.#all.get(name)];
      if (!theirs) continue;
      const found = ours ? against(theirs, ours) : 1;
      const order = found !== 0 && theirs.epoch > until ? -1 : found;
      if (order < 0) outdone.push(outdoneOf(name, theirs));
      if (order <= 0) continue;
      moved = true;
      this.#all.set(name, theirs);
      const unsaved = this.#unsaved.get(name);
      if (unsaved && this.#unsaved.delete(name)) this.#overtake(name, unsaved);
    }
    // Of two that were full with others, those that count are the same wherever they meet: the first by name.
    for (const name of this.names().slice(MOST).reverse()) {
      const gone = this.#all.get(name);
      if (gone) outdone.push(outdoneOf(name, gone));
      this.#all.delete(name);
      const own = this.#unsaved.get(name);
      if (own && this.#unsaved.delete(name)) this.#giveUp(name, own);
    }
    return { moved, outdone };
  }
}

function text(registers: Map<string, Register>): string {
  return JSON.stringify(Object.fromEntries([...registers.keys()].sort().map((name) => [name, registers.get(name)])));
}

const outdoneOf = (name: string, register: Register): Outdone => ({ name, by: register.by, value: valueOf(register) });

/** Which of two counts: every device finds the same. */
function against(one: Register, other: Register): number {
  const [a, b] = [hash(one.value), hash(other.value)];
  return one.epoch - other.epoch || one.n - other.n || Number(one.by > other.by) - Number(one.by < other.by) || Number(a > b) - Number(a < b);
}

function read(bytes: Uint8Array): Record<string, unknown> {
  try {
    return strictJson(bytes);
  } catch {
    throw new Refused("state.form", "registers");
  }
}

function isName(name: string): boolean {
  return name.length <= LONGEST_NAME && /^[!-~]+$/.test(name);
}

function isSound(value: unknown): value is Register {
  const { epoch, n, by, value: text, ...more } = (value ?? {}) as Partial<Register>;
  const counts = [epoch, n].every((count) => Number.isSafeInteger(count) && Number(count) >= 1);
  const texts = typeof by === "string" && /^did:key:z[A-Za-z0-9]{40,64}$/.test(by) && typeof text === "string" && utf8(text).length <= LONGEST_VALUE;
  return counts && texts && Object.keys(more).length === 0;
}

/** Another device's mistake keeps nobody from the rest. */
function valueOf({ value }: Register): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}
