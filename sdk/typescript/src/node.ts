/** `@baton/sdk/node`: a keystore file for Node, a WebSocket from elsewhere, and a relying service's side. */

import { createCipheriv, createDecipheriv, randomBytes, scrypt } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { decode, encode } from "./base64url.js";
import type { DeviceKeys } from "./deviceKeys.js";
import { surroundings, type Socket, type Surroundings } from "./http.js";
import type { Jwk } from "./key.js";
import { Refused } from "./refused.js";
import { Turns, type Kept, type Store } from "./store.js";

export { RelyingService, type Asked, type Check, type ClientIdPrefix, type ForeignShown, type Outcome, type Query, type Report, type Shown, type Whose } from "./relying.js";
export { Refused } from "./refused.js";

/** What the SDK stands on in Node, with a WebSocket of the package `ws` or the like: Node 20 has none of its own. */
export function nodeSurroundings(socket: (url: string) => unknown): Surroundings {
  return { ...surroundings, socket: (url) => socket(url) as Socket };
}

/** OWASP's choice for scrypt: 128 MiB. */
const COST = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 };
const VERSION = "baton-keystore-1";

interface Sealed {
  v: typeof VERSION;
  salt: string;
  iv: string;
  ct: string;
}

type Pair = Jwk & { d: string };

/**
 * One device in a file of mode 0600, sealed under a passphrase (scrypt, AES-256-GCM) and replaced as a whole. One process at a time: it takes its
 * own turns, no other's.
 */
export class FileStore implements Store {
  readonly extractable = true;
  readonly #turns = new Turns();
  #key: { salt: Buffer; key: Buffer } | undefined;

  constructor(
    readonly path: string,
    private readonly passphrase: string,
  ) {
    if (passphrase === "") throw new RangeError("an empty passphrase protects nothing");
  }

  async load(): Promise<Kept | undefined> {
    const text = await readFile(this.path, "utf8").catch(absent);
    if (text === undefined) return undefined;
    const { v, salt, iv, ct } = JSON.parse(text) as Sealed;
    if (v !== VERSION) throw new Refused("wrap.invalid", "a keystore of another version");
    const { key } = await this.#derive(Buffer.from(decode(salt)));
    const bytes = decode(ct);
    const decipher = createDecipheriv("aes-256-gcm", key, decode(iv), { authTagLength: 16 }).setAAD(Buffer.from(VERSION)).setAuthTag(bytes.subarray(-16));
    try {
      const plain = Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]);
      const kept = JSON.parse(plain.toString()) as Omit<Kept, "keys"> & { keys: { signing: Pair; agreement: Pair } };
      return { ...kept, keys: await imported(kept.keys) };
    } catch {
      this.#key = undefined;
      throw new Refused("wrap.invalid", "another passphrase, or a damaged keystore");
    }
  }

  async save(kept: Kept): Promise<void> {
    const { salt, key } = await this.#derive(this.#key?.salt ?? randomBytes(16));
    const iv = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", key, iv, { authTagLength: 16 }).setAAD(Buffer.from(VERSION));
    const plain = JSON.stringify({ ...kept, keys: await exported(kept.keys) });
    const ct = Buffer.concat([cipher.update(plain, "utf8"), cipher.final(), cipher.getAuthTag()]);
    const sealed: Sealed = { v: VERSION, salt: encode(salt), iv: encode(iv), ct: encode(ct) };
    await replace(this.path, JSON.stringify(sealed));
  }

  /** Where documents are: beside the file, one file for each. */
  get #documents(): string {
    return `${this.path}.documents`;
  }

  #document(name: string): string {
    if (!/^[\w-]+$/.test(name)) throw new RangeError("no name of a document");
    return join(this.#documents, name);
  }

  async replicas(): Promise<string[]> {
    const files = await readdir(this.#documents).catch(absent);
    // Whatever a run that died here left half done has a longer name.
    return (files ?? []).filter((name) => !name.includes("."));
  }

  async replica(name: string): Promise<Uint8Array | undefined> {
    return readFile(this.#document(name)).catch(absent);
  }

  async keepReplica(name: string, sealed: Uint8Array | undefined): Promise<void> {
    const path = this.#document(name);
    if (!sealed) return rm(path, { force: true });
    await mkdir(this.#documents, { recursive: true, mode: 0o700 });
    await replace(path, sealed);
  }

  alone<T>(act: () => Promise<T>): Promise<T> {
    return this.#turns.take(act);
  }

  async #derive(salt: Buffer): Promise<{ salt: Buffer; key: Buffer }> {
    if (!this.#key?.salt.equals(salt)) {
      const key = await new Promise<Buffer>((resolve, reject) =>
        scrypt(this.passphrase, salt, 32, COST, (error, made) => (error ? reject(error) : resolve(made))),
      );
      this.#key = { salt, key };
    }
    return this.#key;
  }
}

/** Nothing, of a file that is not there. */
function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

/** All of it or nothing, and durable. */
async function replace(path: string, content: string | Uint8Array): Promise<void> {
  const next = `${path}.${encode(randomBytes(6))}`;
  const file = await open(next, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
  // The new name is durable as well.
  const directory = await open(dirname(path), "r");
  await directory.sync().finally(() => directory.close());
}

async function exported({ signing, agreement }: DeviceKeys): Promise<{ signing: JsonWebKey; agreement: JsonWebKey }> {
  const jwk = async (pair: CryptoKeyPair): Promise<JsonWebKey> => {
    const { kty, crv, x, y, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
    return { kty, crv, x, y, d } as JsonWebKey;
  };
  return { signing: await jwk(signing), agreement: await jwk(agreement) };
}

async function imported({ signing, agreement }: { signing: Pair; agreement: Pair }): Promise<DeviceKeys> {
  const pair = async ({ kty, crv, x, y, d }: Pair, name: "ECDSA" | "ECDH", uses: [KeyUsage, KeyUsage[]]): Promise<CryptoKeyPair> => {
    const how = { name, namedCurve: "P-256" };
    return {
      privateKey: await crypto.subtle.importKey("jwk", { kty, crv, x, y, d }, how, true, [uses[0]]),
      publicKey: await crypto.subtle.importKey("jwk", { kty, crv, x, y }, how, true, uses[1]),
    };
  };
  return { signing: await pair(signing, "ECDSA", ["sign", ["verify"]]), agreement: await pair(agreement, "ECDH", ["deriveBits", []]) };
}
