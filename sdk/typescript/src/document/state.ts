/**
 * What is in a document, by itself: text, maps and lists that merge (a Yjs document), and registers. The same edits give the same state on every device, in
 * whatever order they come. `sdk/rust/src/document/state.rs` is the same in Rust; `sdk/rust/tests/it/document.rs` holds the two against each other.
 */

import { Doc, applyUpdate, encodeStateAsUpdate, equalSnapshots, snapshot } from "yjs";
import { Refused } from "../refused.js";
import { Registers, type Outdone } from "./registers.js";

/** What the first byte says. */
const VERSION = 1;

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
    const [registers, document] = [new TextEncoder().encode(this.#registers.text()), encodeStateAsUpdate(this.doc)];
    const out = new Uint8Array(5 + registers.length + document.length);
    out[0] = VERSION;
    new DataView(out.buffer).setUint32(1, registers.length);
    out.set(registers, 5);
    out.set(document, 5 + registers.length);
    return out;
  }

  /** Takes in what another has written: all of it or, when it is none, nothing. */
  merge(content: Uint8Array): Merged {
    const { registers, document } = split(content);
    const read = Registers.parse(registers);
    // An update that is none stops Yjs half way: elsewhere first.
    apply(new Doc(), document);
    const before = snapshot(this.doc);
    apply(this.doc, document);
    const { moved, outdone } = this.#registers.merge(read);
    return { changed: moved || !equalSnapshots(before, snapshot(this.doc)), outdone };
  }
}

function apply(doc: Doc, update: Uint8Array): void {
  try {
    applyUpdate(doc, update);
  } catch {
    throw new Refused("state.form", "document");
  }
}

function split(content: Uint8Array): { registers: Uint8Array; document: Uint8Array } {
  if (content.length < 5 || content[0] !== VERSION) throw new Refused("state.form", "version");
  const length = new DataView(content.buffer, content.byteOffset, content.byteLength).getUint32(1);
  if (content.length < 5 + length) throw new Refused("state.form", "length");
  return { registers: content.subarray(5, 5 + length), document: content.subarray(5 + length) };
}
