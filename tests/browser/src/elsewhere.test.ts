/** The pages at a static origin of their own (`approval_url`): passkeys belong to it, and identity alone cannot use them. */

import { Session, enrolElsewhere, serversAt, Http, type Asking } from "@baton/sdk";
import { Server, hurried } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Files } from "./files.js";
import { Person } from "./person.js";
import { Player, plays } from "./player.js";

let server: Server;
let pages: Files;
let films: Player;
let origin: string;
before(async () => {
  pages = await Files.serve(new URL("../../../identity/web/dist/", import.meta.url));
  origin = `http://approve.localhost:${pages.port}`;
  server = await Server.start({ approvalUrl: origin });
  pages.made.set("/baton.json", JSON.stringify({ identity: `${server.url}/identity` }));
  // As docs/operations.md has it.
  pages.headers.set(
    "content-security-policy",
    `default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ${server.url}; img-src 'self' data:; base-uri 'none'; ` +
      "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html",
  );
  films = await Player.serve(server);
});
after(() => {
  server.stop();
  pages.stop();
  films.stop();
});

test("sign up, both lanes, sessions and signing out from a static origin", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(origin);
    // The cookie is identity's: no script reads it there either, though the browser has it.
    const cookies = await person.cookiesOf(server.url);
    assert.deepEqual(cookies.map(({ httpOnly, secure, sameSite }) => [httpOnly, secure, sameSite]), [[true, true, "None"]]);
    const there = await person.newWindow();
    for (const place of [`${server.url}/identity/jwks`, `${origin}/settings`]) {
      await there.goto(place);
      assert.equal(await there.evaluate(() => document.cookie), "", place);
    }
    await there.close();
    // Lane 1: identity sends the browser on to where the pages are.
    await films.join(page, "laptop");
    assert.match(person.seen.join("\n"), new RegExp(`${origin}/identity/authorize`));

    const asking: Asking = { http: new Http(hurried), servers: serversAt(server.url), clientId: "baton-cli", claims: { name: "Television", kind: "tv", capabilities: ["video"] }, scope: "session:read session:write handoff:offer handoff:accept" };
    const asked = await enrolElsewhere(asking);
    assert.ok(asked.verificationUriComplete.startsWith(`${origin}/device#`));
    await page.goto(asked.verificationUriComplete);
    await page.getByLabel("The check code").fill(asked.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
    const television = await asked.redeem();

    await page.goto(`${origin}/sessions`);
    await page.getByText("on Laptop").waitFor();
    const laptop = await person.newWindow();
    await laptop.goto(films.at("laptop"));
    await laptop.getByLabel("Hand over to").selectOption({ label: "Television" });
    assert.deepEqual(await Session.list(television), [], "not yet");
    await page.goto(`${origin}/settings`);
    await page.getByRole("button", { name: "Sign out here" }).click();
    await page.getByRole("button", { name: "Sign in with a passkey" }).waitFor();
    await plays(laptop, "here");
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error") || text.includes("Content Security Policy")), []);
  } finally {
    await person.close();
  }
});

test("identity's own origin shows no pages, makes no passkeys, and may not ask for them", { timeout: 120_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(origin);
    await page.goto(`${server.url}/passkeys`);
    assert.equal(page.url(), `${origin}/passkeys`, "sent on");
    // A page that identity serves all the same: the API is not for its origin, and the passkey is another host's.
    const ask = (from: string): Promise<number> =>
      fetch(`${server.url}/identity/v1/sign-in/start`, { method: "POST", headers: { "content-type": "application/json", origin: from, "sec-fetch-site": "same-site" }, body: "{}" }).then((answer) => answer.status);
    assert.deepEqual([await ask(server.url), await ask(origin)], [403, 200]);
    await page.goto(`${server.url}/identity/jwks`);
    const used = (host: string): Promise<string> =>
      page.evaluate((rpId) => navigator.credentials.get({ publicKey: { challenge: new Uint8Array(32), rpId } }).then(() => "used", (error: Error) => error.name), host);
    assert.equal(await used("approve.localhost"), "SecurityError");
    // Nor of any host's from the documents, whose scripts are other people's: they run in a sandbox.
    await page.goto(`${server.url}/docs`);
    assert.equal(await used("localhost"), "NotAllowedError");
    // Another origin reads nothing, though the browser would send the cookie along.
    await page.goto(films.at("laptop"));
    const read = await page.evaluate((url) => fetch(`${url}/identity/v1/account`, { credentials: "include" }).then(() => "read", () => "refused"), server.url);
    assert.equal(read, "refused");
    await page.goto(origin);
    const own = await page.evaluate((url) => fetch(`${url}/identity/v1/account`, { credentials: "include" }).then((answer) => answer.status), server.url);
    assert.equal(own, 200, "the pages do");
  } finally {
    await person.close();
  }
});
