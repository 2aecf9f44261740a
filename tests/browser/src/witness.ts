/** A witness to everything that leaves a page or stays in its browser, who knows how a secret may be spelled. */

import { RecoveryCode } from "@baton/sdk";
import { hkdfSync } from "node:crypto";
import type { BrowserContext, Page } from "playwright-core";

/** The order of P-256 (SEC 2). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

export class Witness {
  /** URLs, headers, bodies, frames, console, errors. */
  readonly seen: string[] = [];
  /** The PRF outputs that pages were given. */
  readonly prfOutputs: Uint8Array[] = [];
  /** Keys that sealed something, root copies and session content alike. */
  readonly keys: Uint8Array[] = [];
  /** What was sealed or opened and is as long as a seed: roots, in the pages. */
  readonly seeds: Uint8Array[] = [];

  constructor(private readonly context: BrowserContext) {}

  /** The test alone looks at what the passkey gave and what is sealed under which key: these bytes are what must go nowhere. */
  async begin(): Promise<void> {
    await this.context.exposeFunction("prfGiven", (bytes: number[]) => void this.prfOutputs.push(Uint8Array.from(bytes)));
    await this.context.exposeFunction("keyUsed", (bytes: number[]) => void this.keys.push(Uint8Array.from(bytes)));
    await this.context.exposeFunction("seedSeen", (bytes: number[]) => void this.seeds.push(Uint8Array.from(bytes)));
    await this.context.addInitScript(() => {
      const { prfGiven, keyUsed, seedSeen } = window as unknown as Record<"prfGiven" | "keyUsed" | "seedSeen", (bytes: number[]) => Promise<void>>;
      type Call = (...given: unknown[]) => Promise<unknown>;
      const { subtle } = crypto;
      const [importKey, encrypt, decrypt] = [subtle.importKey.bind(subtle) as Call, subtle.encrypt.bind(subtle) as Call, subtle.decrypt.bind(subtle) as Call];
      const bytesOf = (given: unknown): Uint8Array | undefined => (given instanceof ArrayBuffer ? new Uint8Array(given) : given instanceof Uint8Array ? given : undefined);
      const tell = async (given: unknown, to: (bytes: number[]) => Promise<void>): Promise<void> => {
        const bytes = bytesOf(given);
        if (bytes?.length === 32) await to([...bytes]);
      };
      const replaced: Record<string, Call> = {
        async importKey(format, bytes, ...more) {
          if (format === "raw") await tell(bytes, keyUsed);
          return importKey(format, bytes, ...more);
        },
        async encrypt(by, key, bytes) {
          await tell(bytes, seedSeen);
          return encrypt(by, key, bytes);
        },
        async decrypt(by, key, bytes) {
          const opened = await decrypt(by, key, bytes);
          await tell(opened, seedSeen);
          return opened;
        },
      };
      Object.assign(subtle, replaced);
      for (const name of ["create", "get"] as const) {
        const original = navigator.credentials[name].bind(navigator.credentials) as (options?: object) => Promise<PublicKeyCredential>;
        navigator.credentials[name] = async (options?: object) => {
          const made = await original(options);
          await tell(made.getClientExtensionResults().prf?.results?.first, prfGiven);
          return made;
        };
      }
    });
  }

  watch(page: Page): void {
    page.on("request", (request) => this.seen.push(request.url(), request.postDataBuffer()?.toString("latin1") ?? "", JSON.stringify(request.headers())));
    page.on("websocket", (socket) => {
      this.seen.push(socket.url());
      for (const way of ["framesent", "framereceived"] as const) {
        socket.on(way as "framesent", ({ payload }) => this.seen.push(typeof payload === "string" ? payload : payload.toString("latin1")));
      }
    });
    page.on("console", (message) => this.seen.push(message.text()));
    page.on("pageerror", (error) => this.seen.push(`page error: ${error.message}`));
  }

  /** Which spelling of a secret has left a page or lies in its browser, if any. */
  async leaked(secret: Uint8Array | string): Promise<string | undefined> {
    return (await this.everything())(secret);
  }

  /** All of it as it is by now, to look for secrets in: gives the spelling that is there, if any. */
  async everything(): Promise<(secret: Uint8Array | string) => string | undefined> {
    const all = [...this.seen, ...(await this.#stored())].join("\n");
    const folded = all.toLowerCase();
    return (secret) => spellings(secret).find((spelling) => all.includes(spelling)) ?? spellings(secret).find((spelling) => folded.includes(spelling.toLowerCase()));
  }

  /** The roots that were sealed or opened, and the keys made of them: for the account, and for these apps. */
  roots(...apps: string[]): Uint8Array[] {
    return this.seeds.flatMap((seed) => [seed, ...["baton/account/1", ...apps.map((app) => `baton/issuer/1/${app}`)].map((info) => derived(seed, info))]);
  }

  /** What every window keeps: storage, cookies that scripts read, databases. A key that could be read is a secret that lies there. */
  async #stored(): Promise<string[]> {
    const open = this.context.pages().filter((page) => page.url().startsWith("http"));
    return Promise.all(
      open.map((page) =>
        page.evaluate(async () => {
          const settled = <T>(request: IDBRequest<T>): Promise<T> =>
            new Promise((resolve, reject) => {
              request.onsuccess = () => resolve(request.result);
              request.onerror = () => reject(request.error ?? new Error("IndexedDB"));
            });
          const kept: unknown[] = [];
          for (const { name } of await indexedDB.databases()) {
            const db = await settled(indexedDB.open(name ?? ""));
            for (const store of db.objectStoreNames) kept.push(await settled(db.transaction(store).objectStore(store).getAll()));
            db.close();
          }
          const readable: Promise<unknown>[] = [];
          const text = JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, kept], (_, value: unknown) => {
            if (value instanceof CryptoKey && value.extractable && value.type !== "public") readable.push(crypto.subtle.exportKey("jwk", value));
            return value instanceof ArrayBuffer ? [...new Uint8Array(value)].join(",") : value instanceof Uint8Array ? [...value].join(",") : value;
          });
          return text + JSON.stringify(await Promise.all(readable));
        }),
      ),
    );
  }
}

/** base64 in both alphabets wherever in a longer text, hexadecimal, numbers, the bytes themselves; and a text as it is typed. */
function spellings(secret: Uint8Array | string): string[] {
  const bytes = Buffer.from(secret);
  const within = [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64").replaceAll("=", "");
    // Signs that share bits with what stands before or after could be any.
    return text.slice(Math.ceil((offset * 8) / 6), (bytes.length + offset) % 3 === 0 ? undefined : -1);
  });
  const url = within.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"));
  const asJson = JSON.stringify(Uint8Array.from(bytes));
  if (typeof secret === "string" && /^([0-9A-Z]{4}-){6}[0-9A-Z]{3}$/.test(secret)) return [secret, secret.replaceAll("-", ""), ...spellings(Buffer.from(secret)), ...spellings(RecoveryCode.parse(secret).secret())];
  const typed = typeof secret === "string" ? [secret, secret.replaceAll("-", "")] : [bytes.toString("latin1")];
  return [...within, ...url, bytes.toString("hex"), [...bytes].join(","), [...bytes].join(", "), asJson, ...typed];
}

/** A key made of a root's seed (docs/protocol.md §2). */
function derived(seed: Uint8Array, info: string): Uint8Array {
  const wide = BigInt(`0x${Buffer.from(hkdfSync("sha256", seed, "", info, 48)).toString("hex")}`);
  return Buffer.from(((wide % (ORDER - 1n)) + 1n).toString(16).padStart(64, "0"), "hex");
}
