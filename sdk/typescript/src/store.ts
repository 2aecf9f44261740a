/** Where a device keeps itself between runs. Browsers: {@link IndexedDbStore}. Node: `FileStore` of `@baton/sdk/node`. */

import type { DeviceKeys } from "./deviceKeys.js";
import type { LogHead } from "./deviceLog.js";
import type { PendingHere } from "./enrol.js";
import type { Servers } from "./http.js";

/** Everything a device keeps. Structured-cloneable: its keys stay unreadable wherever it is put. */
export interface Kept {
  servers: Servers;
  clientId: string;
  keys: DeviceKeys;
  credential: string;
  deviceId: string;
  /** The newest end of its log it has seen: a log that does not go on from there is a fork or a rollback. */
  head: LogHead;
  /** What it saw last of each session: a chain or content that does not go on from there is a fork or a rollback. */
  pins: Record<string, Pin>;
  /** What it hands over, by session. */
  handing?: Record<string, Handing>;
  /** When the newest status list it saw was signed, in seconds. */
  statusSeen: number;
  /** Tokens that still live, by audience, scope and session; each good for this device's key alone. */
  tokens: Record<string, { token: string; until: number }>;
}

/** Where a session stood: its last statement with their number, its last update with its digest. */
export interface Pin {
  chain: string;
  n: number;
  seq: number;
  hash: string;
  /** Number of the last one that was content; what came after it was by devices that are out. */
  used?: number;
  /** Digests of envelopes outside its chain that were taken. */
  added: string[];
  /** It had seen another history, which is over, and its document has not been brought over yet. */
  wasOther?: boolean;
}

/** A handoff that this device has offered, and the person has not taken back. */
export interface Handing {
  handoff: string;
  /** It is the target that named itself, not the person. */
  isAskedFor: boolean;
}

/** Keeps one device, and documents beside it, which come sealed. */
export interface Store {
  /** Whether keys must be readable for it to keep them: a file's must, IndexedDB's must not. */
  readonly extractable?: boolean;
  load(): Promise<Kept | undefined>;
  save(kept: Kept): Promise<void>;
  /** The names of the documents it keeps. */
  replicas(): Promise<string[]>;
  replica(name: string): Promise<Uint8Array | undefined>;
  /** Without a document it keeps it no more. */
  keepReplica(name: string, sealed: Uint8Array | undefined): Promise<void>;
  /** Runs `act` while nobody else who uses this store does, in this tab or another. */
  alone<T>(act: () => Promise<T>): Promise<T>;
}

/** One after another, in this process. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(act, act);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

/** For as long as the process lives. */
export class MemoryStore implements Store {
  readonly #turns = new Turns();
  readonly #replicas = new Map<string, Uint8Array>();
  #kept: Kept | undefined;

  load(): Promise<Kept | undefined> {
    return Promise.resolve(this.#kept && structuredClone(this.#kept));
  }

  save(kept: Kept): Promise<void> {
    this.#kept = structuredClone(kept);
    return Promise.resolve();
  }

  replicas(): Promise<string[]> {
    return Promise.resolve([...this.#replicas.keys()]);
  }

  replica(name: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#replicas.get(name));
  }

  keepReplica(name: string, sealed: Uint8Array | undefined): Promise<void> {
    if (sealed) this.#replicas.set(name, Uint8Array.from(sealed));
    else this.#replicas.delete(name);
    return Promise.resolve();
  }

  alone<T>(act: () => Promise<T>): Promise<T> {
    return this.#turns.take(act);
  }
}

const OBJECTS = "device";
const PENDING = "pending";
/** What names of documents begin with there, and the first text after all of them. */
const [DOCUMENT, AFTER] = ["document ", "document!"];

/**
 * In IndexedDB, under a name of the app's choosing: one device for each name. Its keys are WebCrypto's and stay unreadable; tabs take turns by
 * the Web Locks API.
 */
export class IndexedDbStore implements Store {
  constructor(readonly name = "baton-device") {}

  load(): Promise<Kept | undefined> {
    return this.#ask("readonly", (objects) => objects.get(OBJECTS) as IDBRequest<Kept | undefined>);
  }

  /** Keeps what lane 1 needs to go on, over the redirect to the approval and back. */
  async savePending(pending: PendingHere): Promise<void> {
    await this.#ask("readwrite", (objects) => objects.put(pending, PENDING));
  }

  /** Gives it back. It goes once the device is saved: a page that dies on the way can ask again. */
  pending(): Promise<PendingHere | undefined> {
    return this.#ask("readonly", (objects) => objects.get(PENDING) as IDBRequest<PendingHere | undefined>);
  }

  async save(kept: Kept): Promise<void> {
    await this.#ask("readwrite", (objects) => (objects.delete(PENDING), objects.put(kept, OBJECTS)));
  }

  async replicas(): Promise<string[]> {
    const names = await this.#ask("readonly", (objects) => objects.getAllKeys(IDBKeyRange.bound(DOCUMENT, AFTER)));
    return names.map((name) => String(name).slice(DOCUMENT.length));
  }

  replica(name: string): Promise<Uint8Array | undefined> {
    return this.#ask("readonly", (objects) => objects.get(DOCUMENT + name) as IDBRequest<Uint8Array | undefined>);
  }

  async keepReplica(name: string, sealed: Uint8Array | undefined): Promise<void> {
    const change = (objects: IDBObjectStore): IDBRequest => (sealed ? objects.put(sealed, DOCUMENT + name) : objects.delete(DOCUMENT + name));
    await this.#ask("readwrite", change);
  }

  /** Forgets the device: its keys are gone for good, and with them its documents. */
  async clear(): Promise<void> {
    await this.#ask("readwrite", (objects) => objects.clear());
  }

  // The lock's own type loses what `act` gives.
  alone<T>(act: () => Promise<T>): Promise<T> {
    return navigator.locks.request(`baton ${this.name}`, act) as Promise<T>;
  }

  async #ask<T>(mode: IDBTransactionMode, ask: (objects: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const open = indexedDB.open(this.name, 1);
    open.onupgradeneeded = () => open.result.createObjectStore(OBJECTS);
    const db = await settled(open);
    try {
      const transaction = db.transaction(OBJECTS, mode, { durability: "strict" });
      const done = new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error("not stored"));
      });
      const value = await settled(ask(transaction.objectStore(OBJECTS)));
      await done;
      return value;
    } finally {
      db.close();
    }
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
  });
}
