/**
 * What a document's bytes must be before Yjs is given them: one whole state, as an honest writer writes it, and nothing that would overflow a stack, wait for what
 * never comes, or mean something else in the other library. `sdk/rust/src/document/whole.rs` is the same in Rust. The format is update v1 of Yjs, in lib0's encoding.
 */

import { Nesting, type Id, type Within } from "./nesting.js";

/** Most values, and most types, within each other. */
const DEEPEST = 64;
/** Client identifiers are below, and above 0, which is nobody's: copies have it. */
const CLIENTS = 2 ** 32;
/** And so is how far anybody's clock goes. */
const CLOCKS = 2 ** 31;

/** Most items and clients: what is put beside the same thing again and again takes either library the square of it. */
const MOST_ITEMS = 20_000;
const MOST_CLIENTS = 2000;

class NotWhole extends Error {}

interface Block {
  length: number;
  isType: boolean;
  isGone: boolean;
  /** What it stood beside when it was written. */
  beside: Id[];
  /** What it is in, where that is no root. */
  parent?: Id;
}

/** How far each client's clock goes in these bytes, if they are one. */
export function whole(update: Uint8Array): Map<number, number> | undefined {
  try {
    return read(new Input(update));
  } catch (error) {
    if (error instanceof NotWhole) return undefined;
    throw error;
  }
}

function need(holds: boolean): void {
  if (!holds) throw new NotWhole();
}

function read(input: Input): Map<number, number> {
  const ends = new Map<number, number>();
  let items = 0;
  const named: Id[] = [];
  const parents: Id[] = [];
  const types = new Set<string>();
  const nesting = new Nesting();
  for (let clients = input.number(); clients > 0; clients--) {
    const [blocks, client, first] = [input.number(), input.client(), input.number()];
    // All of it: from the first.
    need(first === 0 && !ends.has(client) && ends.size < MOST_CLIENTS);
    let clock = 0;
    for (let n = 0; n < blocks; n++) {
      const block = input.block();
      need(++items <= MOST_ITEMS);
      if (block.isType) types.add(`${client} ${clock}`);
      nesting.add({ client, clock }, within(block));
      named.push(...block.beside);
      if (block.parent) parents.push(block.parent);
      clock += block.length;
      need(clock < CLOCKS);
    }
    ends.set(client, clock);
  }
  need(named.every((id) => id.clock < (ends.get(id.client) ?? 0) && !nesting.isGone(id)));
  need(parents.every(({ client, clock }) => types.has(`${client} ${clock}`)));
  need(nesting.isAtMost(DEEPEST));
  const deleted = new Set<number>();
  for (let clients = input.number(); clients > 0; clients--) {
    const client = input.client();
    need(!deleted.has(client));
    deleted.add(client);
    for (let ranges = input.number(); ranges > 0; ranges--) {
      const [from, length] = [input.number(), input.number()];
      need(length > 0 && from + length <= (ends.get(client) ?? 0));
    }
  }
  need(input.isEmpty);
  return ends;
}

/** What stands beside another is where that is. */
function within({ isGone, beside: [beside], parent }: Block): Within {
  if (isGone) return "gone";
  if (beside) return { like: beside };
  return parent ? { in: parent } : "root";
}

/** Every half of a surrogate pair has its other half. */
function isText(text: string): boolean {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

class Input {
  #at = 0;

  constructor(private readonly all: Uint8Array) {}

  get isEmpty(): boolean {
    return this.#at === this.all.length;
  }

  take(count: number): Uint8Array {
    need(count <= this.all.length - this.#at);
    this.#at += count;
    return this.all.subarray(this.#at - count, this.#at);
  }

  byte(): number {
    return this.take(1)[0] ?? 0;
  }

  /** An unsigned number below 2^53, seven bits a byte. */
  number(): number {
    let number = 0;
    for (let shift = 0; shift < 53; shift += 7) {
      const byte = this.byte();
      number += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        need(number < 2 ** 53);
        return number;
      }
    }
    throw new NotWhole();
  }

  client(): number {
    const client = this.number();
    need(client > 0 && client < CLIENTS);
    return client;
  }

  id(): Id {
    return { client: this.client(), clock: this.number() };
  }

  bytes(): Uint8Array {
    return this.take(this.number());
  }

  text(): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes());
    } catch {
      throw new NotWhole();
    }
  }

  /** JSON, no deeper than anything else. */
  json(): void {
    const text = this.text();
    let [depth, inString, escaped] = [0, false, false];
    for (const one of text) {
      if (escaped) escaped = false;
      else if (one === "\\" && inString) escaped = true;
      else if (one === '"') inString = !inString;
      else if (!inString && (one === "[" || one === "{")) depth++;
      else if (!inString && (one === "]" || one === "}")) depth--;
      need(depth >= 0 && depth <= DEEPEST);
    }
    try {
      JSON.parse(text, (name, value: unknown) => {
        need(typeof value !== "number" || Number.isFinite(value));
        // Half of a surrogate pair is text in this language alone.
        need(isText(name) && (typeof value !== "string" || isText(value)));
        return value;
      });
    } catch {
      throw new NotWhole();
    }
  }

  /** A value of lib0's, by a stack of our own. */
  any(): void {
    // How many are still to come at each depth, and whether each has a name.
    const open = [{ left: 1, hasNames: false }];
    for (let top = open.at(-1); top; top = open.at(-1)) {
      if (top.left === 0) {
        open.pop();
        continue;
      }
      top.left--;
      // What JavaScript has another use for.
      if (top.hasNames) need(this.text() !== "__proto__");
      const kind = this.byte();
      if (kind === 125) this.#signed();
      else if (kind === 124) this.take(4);
      else if (kind === 122 || kind === 123) this.take(8);
      else if (kind === 119) this.text();
      else if (kind === 116) this.bytes();
      else if (kind === 117 || kind === 118) {
        need(open.length <= DEEPEST);
        open.push({ left: this.number(), hasNames: kind === 118 });
      } else need(kind === 120 || kind === 121 || kind === 126 || kind === 127);
    }
  }

  /** A signed number: its first byte has six bits of it, and the sign. */
  #signed(): void {
    let more = this.byte() >= 0x80;
    for (let n = 0; n < 7 && more; n++) more = this.byte() >= 0x80;
    need(!more);
  }

  block(): Block {
    const info = this.byte();
    const block: Block = { length: 1, isType: false, isGone: false, beside: [] };
    if (info === 0) {
      // What was collected: only how much it was.
      block.isGone = true;
      block.length = this.number();
      need(block.length > 0);
      return block;
    }
    if (info & 0x80) block.beside.push(this.id());
    if (info & 0x40) block.beside.push(this.id());
    if (!(info & 0xc0)) {
      const isNamed = this.number();
      need(isNamed <= 1);
      if (isNamed) this.text();
      else block.parent = this.id();
      if (info & 0x20) this.text();
    }
    this.#content(block, info & 0x1f);
    need(block.length > 0);
    return block;
  }

  #content(block: Block, kind: number): void {
    if (kind === 1) block.length = this.number();
    else if (kind === 3) this.bytes();
    else if (kind === 4) block.length = this.text().length;
    else if (kind === 5) this.json();
    else if (kind === 6) {
      this.text();
      this.json();
    } else if (kind === 7) {
      block.isType = true;
      const type = this.number();
      need([0, 1, 2, 3, 4, 6].includes(type));
      if (type === 3) this.text();
    } else if (kind === 8) {
      block.length = this.number();
      for (let n = 0; n < block.length; n++) this.any();
    }
    // Subdocuments, moves, links, and what either library reads no more.
    else throw new NotWhole();
  }
}
