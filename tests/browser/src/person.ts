/** A person at a real Chromium with a virtual passkey, and a witness to everything that leaves the page. */

import { AxeBuilder } from "@axe-core/playwright";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type CDPSession, type Page } from "playwright-core";

const FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

/** What the passkey of this browser can do. */
export interface Authenticator {
  hasPrf?: boolean;
  isUserVerified?: boolean;
}

/** A browser with one page. */
export class Person {
  /** Everything that left the page: URLs, bodies, console, storage. */
  readonly seen: string[] = [];
  /** Keys that sealed something, root copies and session content alike. */
  readonly keys: Uint8Array[] = [];
  /** The PRF outputs this browser's page was given: what must go nowhere. */
  readonly prfOutputs: Uint8Array[] = [];
  private authenticator: string | undefined;

  private constructor(
    private readonly dir: string,
    private readonly context: BrowserContext,
    readonly page: Page,
    private readonly devtools: CDPSession,
  ) {}

  static async at(authenticator: Authenticator = {}): Promise<Person> {
    const dir = mkdtempSync(join(tmpdir(), "baton-browser-"));
    const context = await chromium.launchPersistentContext(dir, { executablePath: "/usr/bin/chromium", headless: true, args: FLAGS.split(" ") });
    const page = context.pages()[0] ?? (await context.newPage());
    const person = new Person(dir, context, page, await context.newCDPSession(page));
    person.#watch(page);
    // The test alone looks at what the passkey gave and which keys seal: their bytes are what must go nowhere.
    await context.exposeFunction("prfGiven", (bytes: number[]) => void person.prfOutputs.push(Uint8Array.from(bytes)));
    await context.exposeFunction("keyUsed", (bytes: number[]) => void person.keys.push(Uint8Array.from(bytes)));
    await context.addInitScript(() => {
      const { prfGiven, keyUsed } = window as unknown as Record<"prfGiven" | "keyUsed", (bytes: number[]) => Promise<void>>;
      const importKey = crypto.subtle.importKey.bind(crypto.subtle) as (...given: unknown[]) => Promise<CryptoKey>;
      crypto.subtle.importKey = (async (format: string, bytes: unknown, ...more: unknown[]) => {
        if (format === "raw" && bytes instanceof Uint8Array && bytes.length === 32) await keyUsed([...bytes]);
        return importKey(format, bytes, ...more);
      }) as typeof crypto.subtle.importKey;
      for (const name of ["create", "get"] as const) {
        const original = navigator.credentials[name].bind(navigator.credentials) as (options?: object) => Promise<PublicKeyCredential>;
        navigator.credentials[name] = async (options?: object) => {
          const made = await original(options);
          const first = made.getClientExtensionResults().prf?.results?.first;
          if (first instanceof ArrayBuffer) await prfGiven([...new Uint8Array(first)]);
          return made;
        };
      }
    });
    await person.devtools.send("WebAuthn.enable");
    await person.newPasskeys(authenticator);
    return person;
  }

  /** Another window of this browser. */
  async newWindow(): Promise<Page> {
    const page = await this.context.newPage();
    this.#watch(page);
    return page;
  }

  #watch(page: Page): void {
    page.setDefaultTimeout(20_000);
    page.on("request", (request) => this.seen.push(request.url(), request.postData() ?? "", JSON.stringify(request.headers())));
    page.on("websocket", (socket) => {
      this.seen.push(socket.url());
      for (const way of ["framesent", "framereceived"] as const) socket.on(way as "framesent", ({ payload }) => this.seen.push(payload.toString()));
    });
    page.on("console", (message) => this.seen.push(message.text()));
    page.on("pageerror", (error) => this.seen.push(`page error: ${error.message}`));
  }

  /** Another device's passkeys: those from before are gone. */
  async newPasskeys({ hasPrf = true, isUserVerified = true }: Authenticator = {}): Promise<void> {
    if (this.authenticator !== undefined) await this.devtools.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: this.authenticator });
    const options = {
      protocol: "ctap2",
      ctap2Version: "ctap2_1",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified,
      automaticPresenceSimulation: true,
      hasPrf,
    } as const;
    this.authenticator = (await this.devtools.send("WebAuthn.addVirtualAuthenticator", { options })).authenticatorId;
  }

  /** When the page asks for a new passkey, the person takes another authenticator, and has only that one from then on. */
  async willTakeAnother(): Promise<void> {
    await this.page.route(/passkeys\/start$/, async (route) => (await this.newPasskeys(), route.continue()), { times: 1 });
  }

  /** Signed out, and nothing remembered. */
  async forgetEverything(): Promise<void> {
    await this.context.clearCookies();
    await this.page.evaluate(() => localStorage.clear());
  }

  /** The session has ended while the page stands open. */
  signedOutElsewhere(): Promise<void> {
    return this.context.clearCookies();
  }

  /** Makes an account in the pages and gives the recovery code. */
  async signUp(url: string): Promise<string> {
    await this.page.goto(url);
    await this.page.getByRole("button", { name: "Create an account" }).click();
    const code = (await this.page.getByTestId("recovery-code").textContent()) ?? "";
    await this.page.getByLabel("Type its last group").fill(code.split("-").at(-1) ?? "");
    await this.page.getByRole("button", { name: "I have written it down" }).click();
    await this.page.getByRole("heading", { name: "Your devices" }).waitFor();
    return code;
  }

  /** axe finds nothing, in light and in dark. */
  async isAccessible(): Promise<void> {
    for (const colorScheme of ["light", "dark"] as const) {
      await this.page.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page: this.page }).analyze();
      assert.deepEqual(violations.map(({ id, nodes }) => `${colorScheme}: ${id} ${nodes.map((node) => node.html).join(" ")}`), []);
    }
  }

  /** Whether bytes or a text left the page in any spelling the witness knows. */
  async leaked(secret: Uint8Array | string): Promise<string | undefined> {
    const stored = await this.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    const spellings = (bytes: Buffer): string[] => [bytes.toString("base64"), bytes.toString("base64url"), bytes.toString("hex"), [...bytes].join(","), JSON.stringify(Uint8Array.from(bytes))];
    const wanted = typeof secret === "string" ? [secret, secret.replaceAll("-", ""), ...spellings(Buffer.from(secret))] : spellings(Buffer.from(secret));
    const all = [...this.seen, stored].join("\n").toLowerCase();
    return wanted.find((spelling) => all.includes(spelling.toLowerCase()));
  }

  async close(): Promise<void> {
    await this.context.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The page says this, as an alert. When it does not, what it shows in its place is told. */
export async function alerted(page: Page, said: string | RegExp): Promise<void> {
  try {
    await page.getByRole("alert").getByText(said).waitFor();
  } catch (error) {
    throw new Error(`${String(said)} was not said; the page at ${page.url()} shows: ${await page.locator("body").innerText()}`, { cause: error });
  }
}
