/** A session's chain: signed statements, each naming its predecessor, that say who may write. A device checks it itself (docs/protocol.md §7). */

import { signBy, verify, verifyBy } from "../jws.js";
import type { Signer } from "../deviceKeys.js";
import { hash, type PublicKey } from "../key.js";
import { Refused } from "../refused.js";
import type { Head } from "./update.js";

/** How a session treats several writers: one at a time, or every full device of the person, whoever holds it. */
export type Mode = "exclusive" | "shared";

/** What a statement does. Members stand in the order in which they are signed. */
export type Act =
  | { kind: "open"; app: string; subject: string; mode: Mode; envelope: string }
  | { kind: "release"; handoff: string; head: Head; key_version: number; envelope?: string; to: string }
  | { kind: "receipt"; handoff: string; proof: string }
  | { kind: "reclaim"; handoff: string }
  | { kind: "claim"; from: Head; also?: string; key_version: number; envelope: string }
  | { kind: "rekey"; key_version: number; envelope: string };

/** One statement. */
export interface Statement {
  session: string;
  /** The epoch that holds once it counts. */
  epoch: number;
  /** Hash of the statement before; none in `open`. */
  prev: string | undefined;
  device: string;
  act: Act;
}

/** A statement in its signed form, and the hash that names it. */
export interface Signed {
  text: string;
  statement: Statement;
  hash: string;
}

/** Signs a statement. */
export async function signStatement(statement: Statement, signer: Signer): Promise<Signed> {
  return { text: await signBy("baton-statement+jwt", signer, written(statement)), statement, hash: hash(JSON.stringify(written(statement))) };
}

/** Reads a statement: by the very device it names, and letter for letter what this version would write. */
export function readStatement(text: string): Signed {
  const { by, claims, payloadHash } = verifyBy(text, "baton-statement+jwt");
  const { session, epoch, prev, device } = claims as unknown as Statement;
  const statement: Statement = { session, epoch, prev, device, act: act(claims) };
  if (statement.device !== by || payloadHash !== hash(JSON.stringify(written(statement)))) throw refused();
  return { text, statement, hash: payloadHash };
}

/** Reads the broker's acceptance of the statement `of`. */
export function checkAccepted(text: string, key: PublicKey, session: string, of: string): void {
  const { claims, payloadHash } = verify(text, "baton-accepted+jwt", () => key);
  const at = claims["at"];
  if (!Number.isInteger(at) || payloadHash !== hash(JSON.stringify({ v: 1, session, statement: of, at }))) throw refused();
}

function written({ session, epoch, prev, device, act }: Statement): object {
  return { v: 1, session, epoch, ...(prev === undefined ? {} : { prev }), device, ...act };
}

const MEMBERS: Record<Act["kind"], string[]> = {
  open: ["app", "subject", "mode", "envelope"],
  release: ["handoff", "head", "key_version", "envelope", "to"],
  receipt: ["handoff", "proof"],
  reclaim: ["handoff"],
  claim: ["from", "also", "key_version", "envelope"],
  rekey: ["key_version", "envelope"],
};

/** By name: what this version does not know is left out, and then the hash does not match. */
function act(claims: Record<string, unknown>): Act {
  const kind = claims["kind"] as Act["kind"];
  if (!Object.hasOwn(MEMBERS, kind)) throw refused();
  const value = (name: string): unknown => (name === "head" || name === "from" ? headOf(claims[name]) : claims[name]);
  const given = MEMBERS[kind].filter((name) => claims[name] !== undefined);
  return { kind, ...Object.fromEntries(given.map((name) => [name, value(name)])) } as Act;
}

function headOf(value: unknown): Head {
  const { epoch, seq, hash } = (value ?? {}) as Head;
  return { epoch, seq, hash };
}

/** What a chain says once all its statements are taken in. */
export class Chain {
  epoch = 1;
  keyVersion = 1;
  /** The device it was released to, in which handoff and from where, while no one has taken over. */
  released: { handoff: string; to: string; head: Head } | undefined;
  /** Epochs that are over: who held each, and the last update of it that counts. */
  readonly #over: { epoch: number; holder: string; end: Head }[] = [];
  /** Where other histories stood that claims have ended, and whose claims. */
  readonly #ended: { also: string; by: string }[] = [];

  private constructor(
    readonly session: string,
    readonly app: string,
    readonly subject: string,
    readonly mode: Mode,
    /** The device that holds or last held it. */
    public holder: string,
    private readonly hashes: string[],
    /** Which envelopes brought which key version. */
    private readonly envelopes: { version: number; digest: string }[],
  ) {}

  /** Begins with an `open`. */
  static open({ statement, hash }: Signed): Chain {
    const { act, epoch, prev, session, device } = statement;
    if (act.kind !== "open" || epoch !== 1 || prev !== undefined || !["exclusive", "shared"].includes(act.mode)) throw refused();
    return new Chain(session, act.app, act.subject, act.mode, device, [hash], [{ version: 1, digest: act.envelope }]);
  }

  /** Hash of the last statement. */
  get last(): string {
    return this.hashes.at(-1) ?? "";
  }

  /** Takes one more statement in, or says why it cannot follow. */
  apply({ statement, hash }: Signed): void {
    const { act, epoch, prev, session, device } = statement;
    if (session !== this.session) throw refused();
    if (prev !== this.last) throw this.hashes.includes(prev ?? "") ? new Refused("handoff.forked", "two successors") : refused();
    const [byHolder, stays, moves] = [device === this.holder, epoch === this.epoch, epoch === this.epoch + 1];
    const { released } = this;
    if (act.kind === "release" && !released && byHolder && stays && act.key_version === this.keyVersion) {
      this.released = { handoff: act.handoff, to: act.to, head: act.head };
      if (act.envelope !== undefined) this.envelopes.push({ version: act.key_version, digest: act.envelope });
    } else if (act.kind === "receipt" && released?.handoff === act.handoff && released.to === device && moves) {
      this.#takeOver(statement, released.head);
    } else if (act.kind === "reclaim" && released?.handoff === act.handoff && byHolder && moves) {
      this.#takeOver(statement, released.head);
    } else if (act.kind === "claim" && moves && act.key_version === this.keyVersion + 1) {
      const also: unknown = act.also;
      // What is part of this history is none of another.
      if (also !== undefined && (typeof also !== "string" || this.hashes.includes(also))) throw refused();
      this.keyVersion++;
      if (also !== undefined) this.#ended.push({ also, by: device });
      this.envelopes.push({ version: act.key_version, digest: act.envelope });
      this.#takeOver(statement, act.from);
    } else if (act.kind === "rekey" && !released && byHolder && stays && act.key_version === this.keyVersion + 1) {
      this.keyVersion++;
      this.envelopes.push({ version: act.key_version, digest: act.envelope });
    } else {
      throw refused();
    }
    this.hashes.push(hash);
  }

  /** Who held it at that epoch. */
  holderAt(at: number): string | undefined {
    return this.#over.find(({ epoch }) => epoch === at)?.holder ?? (at === this.epoch ? this.holder : undefined);
  }

  /** The last epoch at which that device held it. */
  lastHeldBy(device: string): number | undefined {
    return device === this.holder ? this.epoch : this.#over.findLast(({ holder }) => holder === device)?.epoch;
  }

  /**
   * Refuses an update that cannot be part of the content: by another than who held the session then (in a shared one by whom `isMember` does not know), or
   * past where that epoch ended.
   */
  needUpdate(by: string, at: Head, isMember: (device: string) => boolean): void {
    const over = this.#over.find(({ epoch }) => epoch === at.epoch);
    if (!over && at.epoch !== this.epoch) throw new Refused("state.rollback", "of no epoch");
    const might = (over?.holder ?? this.holder) === by || (this.mode === "shared" && isMember(by));
    if (!might) throw new Refused("state.sender", "not the holder of its epoch");
    const end = over ? over.end : this.released?.head;
    // An epoch may end before it wrote anything: then the end is one of an epoch before.
    if (end && (at.seq > end.seq || (at.seq === end.seq && !same(at, end)))) throw new Refused("state.rollback", "past the end of its epoch");
  }

  /** Refuses content that is not all that was signed for: something that a release or a claim named is missing. */
  needEnd(head: Head): void {
    const last = this.#over.at(-1)?.end;
    const grown = head.epoch === this.epoch && (last === undefined || head.seq > last.seq);
    const whole = this.released ? same(head, this.released.head) : grown || (last !== undefined && same(head, last));
    if (!whole) throw new Refused("state.rollback", "something is missing");
  }

  /** Digests of the envelopes that brought a key version in. */
  envelopesOf(version: number): string[] {
    return this.envelopes.filter((one) => one.version === version).map(({ digest }) => digest);
  }

  /** Hash of the first statement, which the first update follows. */
  get first(): string {
    return this.hashes[0] ?? "";
  }

  /** How many statements there are. */
  get length(): number {
    return this.hashes.length;
  }

  /** A chain that does not go on from what was seen before is a fork, if no claim has ended that: both are to be kept, and nothing is written. */
  continues(known: string): boolean {
    return this.hashes.includes(known);
  }

  /** Whether a claim of a device that `may` say so says that another history stood there, and is over. */
  hasEnded(known: string, may: (device: string) => boolean): boolean {
    return this.#ended.some(({ also, by }) => also === known && may(by));
  }

  #takeOver({ epoch, device }: Statement, end: Head): void {
    this.#over.push({ epoch: this.epoch, holder: this.holder, end });
    this.epoch = epoch;
    this.holder = device;
    this.released = undefined;
  }
}

function same(a: Head, b: Head): boolean {
  return a.epoch === b.epoch && a.seq === b.seq && a.hash === b.hash;
}

function refused(): Refused {
  return new Refused("handoff.statement", "statement");
}
