/**
 * `@baton/sdk/document`: a session whose content is a document. Edits of several devices come together instead of one replacing the other, also those that
 * came too late for the session and were kept beside it (docs/protocol.md §7, Documents).
 */

import type { Doc } from "yjs";
import type { Device } from "../device.js";
import { Refused } from "../refused.js";
import { Session, type Written } from "../session/session.js";
import type { Needs } from "../session/needs.js";
import type { Outdone } from "./registers.js";
import { keep, takeIn } from "./replica.js";
import { State, type Merged } from "./state.js";

export { State, type Merged } from "./state.js";
export type { Outdone } from "./registers.js";
export { Replica } from "./replica.js";

/** How often a write is tried that another window of this device was quicker than. */
const TRIES = 4;

/** What reading a session brought. */
export interface Changes {
  /** Whether anything is other than it was here. */
  changed: boolean;
  /** Every late edit kept beside the session, told each time: all of them are in this document, whoever holds the session. */
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
  /** They are no document: for the person to look at, side by side. */
  | { is: "beside"; content: Uint8Array };

/** A document in a session. */
export class Document {
  private constructor(
    /** Its session: to offer, to keep alive, to hand over. Save before. */
    readonly session: Session,
    /** Its state. Edits are this device's own until they are saved, with or without a network. */
    readonly state: State,
  ) {}

  /** Opens a session with an empty document. */
  static async open(device: Device, needs?: Needs): Promise<Document> {
    const state = fresh(device);
    return new Document(await Session.open(device, state.encode(), needs), state);
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
    return keep(this.session.device, this.session.id, this.session.chain.epoch, this.state);
  }

  /** Reads what others wrote since, into what is here. */
  async follow(): Promise<Changes> {
    await this.session.follow();
    return this.#takeIn();
  }

  async #takeIn(): Promise<Changes> {
    let { changed } = this.state.merge(this.session.content);
    // What this device has written itself, in another tab or before it was started again.
    await takeIn(this.session.device, this.session.id, this.state);
    const late: Late[] = [];
    for (const { device, epoch, content } of await this.session.branches()) {
      const merged = this.#merged(content);
      if (merged === undefined) {
        late.push({ device, epoch, outcome: { is: "beside", content } });
        continue;
      }
      const isNew = merged.changed || merged.outdone.length > 0;
      late.push({ device, epoch, outcome: isNew ? { is: "merged", outdone: merged.outdone } : { is: "known" } });
      changed ||= merged.changed;
    }
    return { changed, late };
  }

  #merged(content: Uint8Array): Merged | undefined {
    try {
      return this.state.merge(content);
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "state.form") throw error;
      return undefined;
    }
  }

  /**
   * Keeps it here, and writes what is not in the session yet; nothing when all of it is. When the session has moved on, it is kept beside it, and merged by
   * whoever reads it. Without a network it fails, and everything stays here for the next time, also when that is after another start.
   */
  async save(): Promise<Written | undefined> {
    await this.keep();
    for (let tries = 1; ; tries++) {
      const content = this.state.encode();
      const there = new State(new Uint8Array(4));
      there.merge(this.session.content);
      if (!there.merge(content).changed) return undefined;
      try {
        return await this.session.write(content);
      } catch (error) {
        if (!(error instanceof Refused) || error.code !== "state.conflict" || tries >= TRIES) throw error;
        // Another window of this device was quicker.
        await this.session.follow();
        this.state.merge(this.session.content);
      }
    }
  }
}

function fresh(device: Device): State {
  return new State(device.http.around.random(4));
}
