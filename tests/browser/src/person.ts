/** A person at a real Chromium with a virtual passkey. */

import { AxeBuilder } from "@axe-core/playwright";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type APIResponse, type CDPSession, type Cookie, type Page, type Route } from "playwright-core";
import { Witness } from "./witness.js";

const FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

/** What the passkey of this browser can do. */
export interface Authenticator {
  hasPrf?: boolean;
  isUserVerified?: boolean;
}

/** A browser with one page. */
export class Person {
  /** Who sees everything that leaves a page. */
  readonly witness: Witness;
  private authenticator: string | undefined;
  /** What holds windows off the network. */
  readonly #offNetwork = new Map<Page, CDPSession>();

  private constructor(
    private readonly dir: string,
    private readonly context: BrowserContext,
    readonly page: Page,
    private readonly devtools: CDPSession,
  ) {
    this.witness = new Witness(context);
  }

  /** What has left so far. */
  get seen(): string[] {
    return this.witness.seen;
  }

  static async at(authenticator: Authenticator = {}): Promise<Person> {
    const dir = mkdtempSync(join(tmpdir(), "baton-browser-"));
    const context = await chromium.launchPersistentContext(dir, { executablePath: "/usr/bin/chromium", headless: true, args: FLAGS.split(" ") });
    const page = context.pages()[0] ?? (await context.newPage());
    const person = new Person(dir, context, page, await context.newCDPSession(page));
    person.#watch(page);
    await person.witness.begin();
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

  /** Takes a window off the network, or puts it back. */
  async network(page: Page, isThere: boolean): Promise<void> {
    const devtools = this.#offNetwork.get(page) ?? (await this.context.newCDPSession(page));
    this.#offNetwork.set(page, devtools);
    await devtools.send("Network.emulateNetworkConditions", { offline: !isThere, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  }

  #watch(page: Page): void {
    page.setDefaultTimeout(20_000);
    this.witness.watch(page);
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
  async willTakeAnother(authenticator: Authenticator = {}): Promise<void> {
    await this.page.route(/passkeys\/start$/, async (route) => (await this.newPasskeys(authenticator), route.continue()), { times: 1 });
  }

  /** What this browser sends there, scripts or not. */
  cookiesOf(url: string): Promise<Cookie[]> {
    return this.context.cookies(url);
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

  /** Whether bytes or a text left a page, or lie in this browser, in any spelling the witness knows. */
  leaked(secret: Uint8Array | string): Promise<string | undefined> {
    return this.witness.leaked(secret);
  }

  /** Nothing that opens the root, and no root, has left a page: neither the codes nor what passkeys gave, nor any key made of it. */
  async kept(...codes: string[]): Promise<void> {
    const { prfOutputs, keys } = this.witness;
    const roots = this.witness.roots("baton");
    assert.ok(prfOutputs.length > 0 && keys.length > 0 && roots.length > 0, "the witness was told what to look for");
    const spellingOf = await this.witness.everything();
    for (const secret of [...codes, ...prfOutputs, ...keys, ...roots]) assert.equal(spellingOf(secret), undefined);
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

/** Sends a request on as the page made it: Playwright alone leaves out where it came from. */
export const passOn = (route: Route): Promise<APIResponse> => route.fetch({ headers: { ...route.request().headers(), "sec-fetch-site": "same-origin" } });
