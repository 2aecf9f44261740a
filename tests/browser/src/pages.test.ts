/** The main job in the pages, by hand: sign up, add devices by both lanes, revoke, recover. Real Chromium, real server, real passkey ceremonies. */

import { Http, Refused, enrolElsewhere, enrolHere, redeemHere, serversAt, type Asking } from "@baton/sdk";
import { Server, hurried } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { App } from "./app.js";
import { CALLBACK } from "./enrolled.js";
import { Person, alerted, passOn } from "./person.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

function asking(name: string): Asking {
  const claims = { name, kind: "tv", platform: "Linux" } as const;
  return { http: new Http(hurried), servers: serversAt(server.url), clientId: "baton-cli", claims, scope: "session:read handoff:accept" };
}

test("sign up, add devices by both lanes, revoke, recover", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await page.goto(server.url);
    await page.getByRole("heading", { name: "Carry on where you are" }).waitFor();
    await person.isAccessible();
    const code = await person.signUp(server.url);
    assert.match(code, /^([0-9A-Z]{4}-){6}[0-9A-Z]{3}$/);
    await page.getByText("None yet.").waitFor();
    await person.isAccessible();

    // Lane 2: DEV-07, DEV-09. The link lands on "did you start this?" with Refuse in focus.
    // INP-02, DEV-17: a name that is markup is a name.
    const markup = "<img src=x onerror=alert(1)>";
    await page.goto((await enrolElsewhere(asking(markup))).verificationUriComplete);
    await page.getByText(markup).waitFor();
    assert.equal(await page.locator("main img").count(), 0);
    await page.getByRole("button", { name: "Refuse" }).click();
    await page.locator("h1:focus", { hasText: "Refused" }).waitFor();
    await person.isAccessible();
    const television = await enrolElsewhere(asking("Television"));
    await page.goto(television.verificationUriComplete);
    await page.getByRole("heading", { name: "Did you start this?" }).waitFor();
    await page.locator("button:focus", { hasText: "Refuse" }).waitFor();
    await person.isAccessible();
    await page.getByLabel("The check code").fill(television.checkCode === "000000" ? "000001" : "000000");
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await alerted(page, "not the check code");
    await page.getByLabel("The check code").fill(television.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    // What the page has turned into is where the keyboard and a screen reader are.
    await page.locator("h1:focus", { hasText: "Television is yours now" }).waitFor();
    await person.isAccessible();
    const tv = await television.redeem();
    assert.equal(tv.tier, "limited");

    // Lane 1: the app's own browser comes back with a code.
    const listener = createServer((_, answer) => answer.end("back in the app")).listen(0, "127.0.0.1");
    await new Promise((resolve) => listener.once("listening", resolve));
    const callback = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/callback`;
    const asked = asking("Laptop");
    const here = await enrolHere(asked, callback);
    await page.goto(here.url);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.waitForURL(`${callback}**`);
    const laptop = await redeemHere(asked, here.pending, page.url());
    listener.close();
    assert.equal(laptop.tier, "full");

    // Revoked with one click and one confirmation, and its next token is refused.
    await page.goto(server.url);
    await page.getByRole("button", { name: "Revoke Television" }).click();
    await person.isAccessible();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("status").getByText(/Television.? is out/).waitFor();
    const refused = tv.token(tv.kept.servers.broker, "session:read");
    await assert.rejects(refused, (error: unknown) => error instanceof Refused && error.code === "status.revoked");
    assert.ok(await laptop.token(laptop.kept.servers.broker, "session:read"));

    assert.ok(person.witness.prfOutputs.length >= 4 && person.witness.seeds.length >= 4, "at sign-up and at each approval");
    await person.kept(code);
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);

    // Every passkey is gone: the code brings the account back, on a new one.
    await person.newPasskeys();
    await person.forgetEverything();
    await page.goto(server.url);
    await page.getByRole("button", { name: "I have only my recovery code" }).click();
    await person.isAccessible();
    await page.getByLabel("Recovery code").fill(code.toLowerCase().replaceAll("-", " "));
    await page.getByRole("button", { name: "Recover" }).click();
    await page.getByRole("heading", { name: "Laptop" }).waitFor();
    // The answer to this approval is lost after identity has done it (I11): the page asks again and has it.
    await page.route(/\/approve$/, async (route) => (await passOn(route), route.abort()), { times: 1 });
    const another = await enrolElsewhere(asking("Tablet"));
    await page.goto(another.verificationUriComplete);
    await page.getByLabel("The check code").fill(another.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Tablet is yours now" }).waitFor();
    assert.ok((await another.redeem()).did.startsWith("did:key:"), "the recovered root signs");
    await person.kept(code);
  } finally {
    await person.close();
  }
});

test("a passkey that cannot keep the root, and one that does not verify", async () => {
  for (const [authenticator, said] of [
    [{ hasPrf: false }, "cannot keep your root"],
    [{ isUserVerified: false }, "No passkey was used"],
  ] as const) {
    const person = await Person.at(authenticator);
    try {
      await person.page.goto(server.url);
      await person.page.getByRole("button", { name: "Create an account" }).click();
      await alerted(person.page, said);
    } finally {
      await person.close();
    }
  }
});

test("a passkey without PRF signs in and opens nothing, and a person with one that opens is told to add another", { timeout: 120_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    // WRP-10: at every sign-in, as long as there is one alone.
    await page.getByRole("note").getByText("If this one is lost").waitFor();
    await page.getByRole("note").getByRole("link", { name: "Add a passkey" }).click();
    await person.willTakeAnother({ hasPrf: false });
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await page.getByRole("status").filter({ hasText: "cannot approve devices: it has no PRF" }).waitFor();
    await page.getByText("signs you in only").waitFor();
    await page.goto(`${server.url}/settings`);
    await page.getByRole("button", { name: "Sign out here" }).click();
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.getByRole("note").getByText("If this one is lost").waitFor();
    const asked = await enrolElsewhere(asking("Television"));
    await page.goto(asked.verificationUriComplete);
    await page.getByLabel("The check code").fill(asked.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await alerted(page, "cannot keep your root");
    assert.deepEqual(person.seen.filter((text) => text.endsWith("/approve")), []);
  } finally {
    await person.close();
  }
});

test("who left before confirming the recovery code can still do it, with that code alone", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await page.goto(server.url);
    await page.getByRole("button", { name: "Create an account" }).click();
    const code = (await page.getByTestId("recovery-code").textContent()) ?? "";
    await page.goto(server.url);
    await page.getByRole("heading", { name: "Do you still have" }).waitFor();
    await person.isAccessible();
    await page.getByRole("textbox", { name: "Recovery code" }).fill(`${code.slice(0, -1)}${code.endsWith("0") ? "1" : "0"}`);
    await page.getByRole("button", { name: "Confirm" }).click();
    await alerted(page, "typing mistake");
    await page.getByRole("textbox", { name: "Recovery code" }).fill(code);
    await page.getByRole("button", { name: "Confirm" }).click();
    await page.getByRole("status").getByText("Your recovery code works").waitFor();
  } finally {
    await person.close();
  }
});

test("whose account was made though the answer was lost still gets the code, and can print it", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await page.addInitScript(() => {
      window.print = () => void document.body.setAttribute("data-printed", String(matchMedia("print").media));
    });
    let lost = 0;
    await page.route(/sign-up\/finish$/, async (route) => (lost++, await passOn(route), route.abort()), { times: 1 });
    const code = await person.signUp(server.url);
    assert.equal(lost, 1);
    await page.goto(`${server.url}/passkeys`);
    await page.getByRole("button", { name: "Make a new code" }).click();
    await page.getByRole("button", { name: "Print" }).click();
    assert.equal(await page.locator("body[data-printed]").count(), 1);
    // On paper: the code, and nothing to press.
    await page.emulateMedia({ media: "print" });
    assert.ok(await page.getByTestId("recovery-code").isVisible());
    assert.equal(await page.getByRole("button").filter({ visible: true }).count(), 0);
    await page.emulateMedia({ media: "screen" });
    await person.signedOutElsewhere();
    await page.goto(server.url);
    await page.getByRole("button", { name: "I have only my recovery code" }).click();
    await page.getByLabel("Recovery code").fill(code);
    await page.getByRole("button", { name: "Recover" }).click();
    await page.getByRole("heading", { name: "Your devices" }).waitFor();
  } finally {
    await person.close();
  }
});

test("what takes a moment is seen to, and nothing moves when it is done", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    const asked = await enrolElsewhere(asking("Television"));
    let go = (): void => undefined;
    const held = new Promise<void>((resolve) => (go = resolve));
    await page.route(/requests\/open$/, async (route) => (await held, route.continue()), { times: 1 });
    await page.goto(asked.verificationUriComplete);
    await page.getByRole("progressbar", { name: "One moment" }).waitFor();
    go();
    await page.getByRole("heading", { name: "Did you start this?" }).waitFor();
    await page.getByRole("progressbar").waitFor({ state: "detached" });
    // A refusal is said over the page: what stands there stays where it is.
    const button = page.getByRole("button", { name: "Approve with passkey" });
    const places = async (): Promise<unknown> => [await button.boundingBox(), await page.locator("h1").boundingBox(), await page.locator("footer").boundingBox()];
    const before = await places();
    await page.getByLabel("The check code").fill(asked.checkCode === "000000" ? "000001" : "000000");
    await button.click();
    await alerted(page, "not the check code");
    assert.deepEqual(await places(), before);
  } finally {
    await person.close();
  }
});

test("refusing a device adds nothing", async () => {
  const person = await Person.at();
  try {
    await person.signUp(server.url);
    const asked = await enrolElsewhere(asking("Somebody's"));
    await person.page.goto(asked.verificationUriComplete);
    await person.page.locator("button:focus", { hasText: "Refuse" }).waitFor();
    // Whoever presses Enter without reading refuses.
    await person.page.keyboard.press("Enter");
    await person.page.getByRole("heading", { name: "Refused" }).waitFor();
    await assert.rejects(asked.redeem(), (error: unknown) => error instanceof Refused && error.code === "access_denied");
  } finally {
    await person.close();
  }
});

test("signing in and approving load less than 120 kB, gzipped", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    const loaded = new Map<string, Promise<Buffer>>();
    page.on("response", (answer) => {
      if (answer.ok() && /\/assets\/|\/(device)?(#.*)?$/.test(answer.url())) loaded.set(answer.url(), answer.body());
    });
    await person.signUp(server.url);
    loaded.clear();
    await person.signedOutElsewhere();
    const asked = await enrolElsewhere(asking("Television"));
    await page.evaluate(() => localStorage.setItem("baton.language", "ar"));
    await page.goto(asked.verificationUriComplete);
    await page.locator("button:not(.primary)").first().click();
    await page.locator("#check").fill(asked.checkCode);
    await page.locator("button.primary").click();
    await asked.redeem();
    const bodies = await Promise.all(loaded.values());
    const size = bodies.reduce((sum, body) => sum + gzipSync(body).length, 0);
    assert.ok([...loaded.keys()].some((url) => url.includes("/assets/ar-")), "in a language of its own chunk");
    assert.ok(size > 20_000 && size < 120_000, `${size} bytes`);
  } finally {
    await person.close();
  }
});

test("the bundle is the same whenever it is built", { timeout: 180_000 }, async () => {
  const web = fileURLToPath(new URL("../../../identity/web/", import.meta.url));
  const built = (dir: string): Record<string, string> =>
    Object.fromEntries(
      readdirSync(dir, { recursive: true, encoding: "utf8", withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => [join(entry.parentPath, entry.name).slice(dir.length), createHash("sha256").update(readFileSync(join(entry.parentPath, entry.name))).digest("hex")] as const)
        .sort(),
    );
  const dir = mkdtempSync(join(tmpdir(), "baton-bundle-"));
  try {
    const [one, two] = [join(dir, "one/"), join(dir, "two/elsewhere/")];
    for (const outDir of [one, two]) execFileSync("npx", ["vite", "build", "--outDir", outDir, "--logLevel", "error"], { cwd: web });
    assert.deepEqual(built(two), built(one));
    // And it is what the server gives.
    assert.equal(createHash("sha256").update(Buffer.from(await (await fetch(server.url)).arrayBuffer())).digest("hex"), built(one)["index.html"]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; " +
  "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

test("HTTP-08, HTTP-13: every page is in nobody's frame, runs nothing inline, and is kept by nobody", async () => {
  for (const path of ["/", "/device", "/sessions", "/activity", "/passkeys", "/settings", "/wallet", "/identity/authorize?request_uri=x"]) {
    const { headers, status } = await fetch(server.url + path);
    const policy = headers.get("content-security-policy");
    assert.deepEqual([status, policy], [200, POLICY], path);
    assert.equal(headers.get("cross-origin-opener-policy"), path === "/device" ? "same-origin" : null, path);
    assert.deepEqual([headers.get("x-frame-options"), headers.get("cache-control"), headers.get("referrer-policy")], ["DENY", "no-store", "no-referrer"], path);
  }
});

test("HTTP-07: what a token protects answers pages of any origin, what a cookie protects only its own", async () => {
  const asked = async (path: string): Promise<string | null> => {
    const headers = { origin: "https://app.example", "access-control-request-method": "POST", "access-control-request-headers": "dpop, authorization" };
    const { headers: answered } = await fetch(server.url + path, { method: "OPTIONS", headers });
    assert.equal(answered.get("access-control-allow-credentials"), null, path);
    return answered.get("access-control-allow-origin");
  };
  for (const path of ["/identity/par", "/identity/token", "/identity/v1/log", "/verifier/token", "/broker/v1/sessions"]) assert.equal(await asked(path), "*", path);
  for (const path of ["/identity/v1/devices", "/identity/v1/sign-in/finish", "/identity/v1/requests/open", "/verifier/v1/presentations/verify", "/"]) {
    assert.equal(await asked(path), null, path);
  }
  const crossSite = await fetch(`${server.url}/identity/v1/sign-up/start`, {
    method: "POST",
    headers: { origin: "https://app.example", "content-type": "application/json" },
    body: "{}",
  });
  assert.deepEqual([crossSite.status, ((await crossSite.json()) as { code: string }).code], [403, "input.csrf"]);
});

test("an app signs the person in: shown what it learns, refused, allowed, and known again", { timeout: 120_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    const app = await App.at(server.url);
    await page.route(`${CALLBACK}**`, (route) => route.fulfill({ body: "back in the app" }));
    await page.goto(await app.push("openid"));
    await page.getByRole("heading", { name: "Sign in to Baton command line?" }).waitFor();
    await page.getByText("no other app is told").waitFor();
    await person.isAccessible();
    await page.getByRole("button", { name: "Refuse" }).click();
    await page.waitForURL(`${CALLBACK}?error=access_denied&**`);
    await page.goto(await app.push("openid"));
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`${CALLBACK}?code=**`);
    assert.ok((await app.redeem(page)).id_token);
    await page.goto(await app.push("openid"));
    await page.getByText("You have signed in there before").waitFor();
    await page.goto(`${server.url}/activity`);
    await page.getByText("You signed in to an app").waitFor();
    await page.getByText("know you again, under a name of its own").waitFor();
    await page.getByRole("button", { name: "Withdraw what you allowed" }).click();
    await page.getByText("Every sign-in of the app ends with it").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Withdraw" }).click();
    await page.getByRole("status").filter({ hasText: "Withdrawn" }).waitFor();
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);
  } finally {
    await person.close();
  }
});
