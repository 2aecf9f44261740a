/**
 * What is in a document, by itself: text, maps and lists that merge (a Yjs document), and registers. The same edits give the same state on every device, in
 * whatever order they come. `sdk/rust/src/document/state.rs` is the same in Rust; `sdk/rust/tests/it/document.rs` holds the two against each other.
 */

import { Doc, applyUpdate, encodeStateAsUpdate, equalSnapshots, getState, snapshot } from "yjs";
import { utf8 } from "../base64url.js";
import { Refused } from "../refused.js";
import { Registers, type Outdone } from "./registers.js";
import { whole } from "./whole.js";

/** What the first byte says. */
const VERSION = 1;
/** An update that brings nothing. */
const NOTHING = Uint8Array.of(0, 0);

/** What merging brought. */
export interface Merged {
  /** Whether anything is other than it was. */
  changed: boolean;
  /** Registers of what came that another value stands for: nothing of them is in the state. */
  outdone: Outdone[];
}

/** A document's state. */
export class State {
  /** The document, to read and edit with Yjs. */
  readonly doc = new Doc();
  readonly #registers = new Registers();

  /** An empty one. No two that are edited at the same time may have the same `client`: take four random bytes. */
  constructor(client: Uint8Array) {
    this.doc.clientID = new DataView(client.buffer, client.byteOffset, 4).getUint32(0);
  }

  /** A register's value. */
  get(name: string): unknown {
    return this.#registers.get(name);
  }

  /** Every register's name. */
  names(): string[] {
    return this.#registers.names();
  }

  /**
   * Sets a register: a value of which only the last counts, such as a position. A later epoch outdoes an earlier one, and in one epoch the later of each
   * device's own.
   */
  set(name: string, value: unknown, epoch: number, by: string): void {
    this.#registers.set(name, value, epoch, by);
  }

  /** As it is written into a session. */
  encode(): Uint8Array {
    return this.#written(encodeStateAsUpdate(this.doc));
  }

  /** Its registers alone: to merge into what somebody has of the rest. */
  encodeRegisters(): Uint8Array {
    return this.#written(NOTHING);
  }

  #written(document: Uint8Array): Uint8Array {
    const registers = utf8(this.#registers.text());
    const out = new Uint8Array(5 + registers.length + document.length);
    out[0] = VERSION;
    new DataView(out.buffer).setUint32(1, registers.length);
    out.set(registers, 5);
    out.set(document, 5 + registers.length);
    return out;
  }

  /**
   * Takes in what another has written, where all of it together has no more than `most` bytes: all of it or, when it is none, nothing. Registers that were set after
   * the session's epoch `until` were not set in this session, and do not count.
   */
  merge(content: Uint8Array, until: number, most = Infinity): Merged {
    const { registers, document } = split(content);
    const read = Registers.parse(registers);
    if (document.length === 2 && document.every((byte) => byte === 0)) {
      const { moved, outdone } = this.#registers.merge(read, until);
      return { changed: moved, outdone };
    }
    if (content.length > most) throw new Refused("state.size", "too large");
    const length = this.#tried(document);
    if (length + registers.length + 5 + utf8(this.#registers.text()).length > most) throw new Refused("state.size", "too large");
    return this.#apply(document, read, until);
  }

  /** @internal Takes in what this device has kept itself: its seal says who wrote it, and what a session would not have is not lost here. */
  restore(content: Uint8Array, until: number): void {
    const { registers, document } = split(content);
    this.#apply(document, Registers.parse(registers), until);
  }

  /** A copy, to be edited by nobody. */
  copy(): State {
    const copy = new State(new Uint8Array(4));
    copy.#apply(encodeStateAsUpdate(this.doc), this.#registers, Infinity);
    copy.#registers.takeTold(this.#registers);
    copy.takeUnsaved(this.unsaved());
    return copy;
  }

  /** @internal Registers that were set here and are nowhere else yet, for another run to {@link takeUnsaved}. */
  unsaved(): Uint8Array {
    return utf8(this.#registers.unsavedText());
  }

  /** @internal */
  takeUnsaved(unsaved: Uint8Array): void {
    this.#registers.takeUnsaved(Registers.parse(unsaved));
  }

  /** @internal The history is over in which registers were set at later epochs than this. */
  layDown(after: number): void {
    this.#registers.layDown(after);
  }

  /** @internal Of what this device set after it last held the session, at `after`, the session has what it has, until its epoch now. */
  giveWay(content: Uint8Array, after: number, until: number, by: string): boolean {
    const there = registersOf(content);
    return there !== undefined && this.#registers.giveWay(there, after, until, by);
  }

  /** @internal The session has this; what is no document has nothing. */
  settle(content: Uint8Array): boolean {
    const there = registersOf(content);
    return there !== undefined && this.#registers.settle(there);
  }

  /** @internal Registers that were set here and that another's value took the place of before they were anywhere else: told once. */
  takeOvertaken(): Outdone[] {
    return this.#registers.takeOvertaken();
  }

  #apply(document: Uint8Array, read: Registers, until: number): Merged {
    const before = snapshot(this.doc);
    apply(this.doc, document);
    const { moved, outdone } = this.#registers.merge(read, until);
    return { changed: moved || !equalSnapshots(before, snapshot(this.doc)), outdone };
  }

  /** Takes it in elsewhere first: what stops half way is to do so there. Gives how long both are together. */
  #tried(document: Uint8Array): number {
    const ends = whole(document);
    const { clientID, store } = this.doc;
    // Nobody writes under the name of who reads: what came of it would hide what is written here.
    if (!ends || (ends.get(clientID) ?? 0) > getState(store, clientID)) throw new Refused("state.form", "document");
    const both = new Doc();
    apply(both, encodeStateAsUpdate(this.doc));
    apply(both, document);
    // Nothing waits for what is not there.
    const all = encodeStateAsUpdate(both);
    // And whoever reads both is to accept them.
    if (both.store.pendingStructs || both.store.pendingDs || !whole(all)) throw new Refused("state.form", "document");
    return all.length;
  }
}

function apply(doc: Doc, update: Uint8Array): void {
  try {
    applyUpdate(doc, update);
  } catch {
    throw new Refused("state.form", "document");
  }
}

/** What is no document has none. */
function registersOf(content: Uint8Array): Registers | undefined {
  try {
    return Registers.parse(split(content).registers);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return undefined;
  }
}

function split(content: Uint8Array): { registers: Uint8Array; document: Uint8Array } {
  if (content.length < 5 || content[0] !== VERSION) throw new Refused("state.form", "version");
  const length = new DataView(content.buffer, content.byteOffset, content.byteLength).getUint32(1);
  if (content.length < 5 + length) throw new Refused("state.form", "length");
  return { registers: content.subarray(5, 5 + length), document: content.subarray(5 + length) };
}
