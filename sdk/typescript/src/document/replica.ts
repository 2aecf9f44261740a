/** A document as this device has it, with or without a network: kept sealed between runs, read and edited offline. */

import type { Doc } from "yjs";
import { utf8, type Bytes } from "../base64url.js";
import type { Device } from "../device.js";
import { Refused } from "../refused.js";
import { State } from "./state.js";

const INFO = "baton/replica/2";
const IV = 12;
/** The epoch, and the length of the registers that are nowhere else yet, which stand before the document. */
const HEAD = 12;

/** A document of this device that needs nobody to be read. `Document.of` takes it in, once there is a network. */
export class Replica {
  private constructor(
    private readonly device: Device,
    /** Its session. */
    readonly session: string,
    private readonly epoch: number,
    /** Its state, to read and edit. */
    readonly state: State,
  ) {}

  /** The sessions whose documents are kept here. */
  static async list(device: Device): Promise<string[]> {
    return (await device.store.replicas()).filter((name) => name.startsWith("ses_"));
  }

  /** The document of a session as it was kept; nothing when there is none. */
  static async load(device: Device, session: string): Promise<Replica | undefined> {
    const state = new State(device.http.around.random(4));
    const epoch = await takeIn(device, session, state);
    return epoch === undefined ? undefined : new Replica(device, session, epoch, state);
  }

  /** To read and edit with Yjs. */
  get doc(): Doc {
    return this.state.doc;
  }

  /** A register's value. */
  get(name: string): unknown {
    return this.state.get(name);
  }

  /** Sets a register, as a document does. */
  set(name: string, value: unknown): void {
    this.state.set(name, value, this.epoch, this.device.did);
  }

  /** Keeps it as it is now. */
  keep(): Promise<void> {
    return keep(this.device, this.session, this.epoch, this.state);
  }

  /** Keeps a session's document no more, whether or not it can be opened: what was not saved is gone. */
  static forget(device: Device, session: string): Promise<void> {
    return device.store.alone(() => device.store.keepReplica(session, undefined));
  }
}

/** How a document stands to its session when it is kept. */
export interface Standing {
  /** What of it is elsewhere as well. */
  there?: Uint8Array;
  /** What was kept may be of another history, which is over: then its registers of later epochs are laid down. */
  wasOther?: boolean;
  /** The session's content, and at which epoch this device last held it, where it does not write into it: what it set since gives way. */
  late?: { content: Uint8Array; after: number } | undefined;
}

/** Keeps a document at its epoch, with whatever another tab has kept of it meanwhile. */
export function keep(device: Device, session: string, epoch: number, state: State, { there, wasOther = false, late }: Standing = {}): Promise<void> {
  return device.store.alone(async () => {
    const whole = state.copy();
    const before = await takeIn(device, session, whole).catch((error: unknown) => setAside(device, session, error));
    if (wasOther) whole.layDown(epoch);
    if (late) whole.giveWay(late.content, late.after, epoch, device.did);
    if (there) whole.settle(there);
    const [unsaved, content] = [whole.unsaved(), whole.encode()];
    const plain = new Uint8Array(HEAD + unsaved.length + content.length);
    const head = new DataView(plain.buffer);
    head.setBigUint64(0, BigInt(wasOther ? epoch : Math.max(epoch, before ?? 1)));
    head.setUint32(8, unsaved.length);
    plain.set(unsaved, HEAD);
    plain.set(content, HEAD + unsaved.length);
    const iv = device.http.around.random(IV);
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: utf8(session) }, await key(device), plain));
    const kept = new Uint8Array(IV + sealed.length);
    kept.set(iv);
    kept.set(sealed, IV);
    await device.store.keepReplica(session, kept);
  });
}

/** Takes what is kept of a document into its state; gives the epoch at which it was kept. Refused (`wrap.invalid`) when it is damaged, or another device's. */
async function takeIn(device: Device, session: string, state: State): Promise<number | undefined> {
  const kept = await device.store.replica(session);
  if (!kept) return undefined;
  const damaged = (): Refused => new Refused("wrap.invalid", "a kept document is damaged");
  const how = { name: "AES-GCM", iv: Uint8Array.from(kept.subarray(0, IV)), additionalData: utf8(session) };
  const opened = await crypto.subtle.decrypt(how, await key(device), Uint8Array.from(kept.subarray(IV))).catch(() => undefined);
  if (!opened || opened.byteLength < HEAD) throw damaged();
  const epoch = Number(new DataView(opened).getBigUint64(0));
  const unsaved = new DataView(opened).getUint32(8);
  try {
    state.restore(new Uint8Array(opened).subarray(HEAD + unsaved), epoch);
    state.takeUnsaved(new Uint8Array(opened).subarray(HEAD, HEAD + unsaved));
  } catch {
    throw damaged();
  }
  return epoch;
}

/** Takes what is kept into its state, if anything is. What cannot be opened holds up nobody: it stays beside, under another name. */
export function takeInOrSetAside(device: Device, session: string, state: State): Promise<"nothing" | "taken in" | "set aside"> {
  return device.store.alone(async () => {
    try {
      return (await takeIn(device, session, state)) === undefined ? "nothing" : "taken in";
    } catch (error) {
      await setAside(device, session, error);
      return "set aside";
    }
  });
}

/** What is kept of a session's document goes to another name. */
async function setAside(device: Device, session: string, why: unknown): Promise<undefined> {
  if (!(why instanceof Refused) || why.code !== "wrap.invalid") throw why;
  const kept = await device.store.replica(session);
  if (kept) await device.store.keepReplica(`damaged-${session}`, kept);
  await device.store.keepReplica(session, undefined);
  return undefined;
}

/** What only this device can derive: from what its agreement key, which nobody can read, agrees on with itself. */
async function key({ kept: { keys } }: Device): Promise<CryptoKey> {
  const { privateKey, publicKey } = keys.agreement;
  const shared = await crypto.subtle.deriveBits({ name: "ECDH", public: publicKey }, privateKey, 256);
  const secret = await crypto.subtle.importKey("raw", shared, "HKDF", false, ["deriveKey"]);
  const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array() as Bytes, info: utf8(INFO) };
  return crypto.subtle.deriveKey(how, secret, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}
