/** A server that lies to the page, and others who would use it: nothing is signed, nothing is done. Each beside what passes. */

import { Http, Refused, enrolElsewhere, enrolHere, serversAt, type Asking } from "@baton/sdk";
import { Server, hurried } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import type { Page, Route } from "playwright-core";
import { Person, alerted, passOn } from "./person.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

function asking(name: string): Asking {
  return { http: new Http(hurried), servers: serversAt(server.url), clientId: "baton-cli", claims: { name, kind: "tv" }, scope: "session:read" };
}

type Json = Record<string, unknown>;
/** The page is told something else than the server said, once. */
async function lie(page: Page, path: RegExp, change: (truth: Json) => Json): Promise<void> {
  const tell = async (route: Route): Promise<void> => {
    const answer = await passOn(route);
    await route.fulfill({ response: answer, json: change((await answer.json()) as Json) });
  };
  await page.route(path, tell, { times: 1 });
}

const signedSince = (person: Person, before: number): boolean => person.seen.slice(before).some((text) => /\/approve$/.test(text));

/** Looks at a request and tries to approve it. */
async function tries(page: Page, asked: { verificationUriComplete: string; checkCode: string }): Promise<void> {
  await page.goto("about:blank");
  await page.goto(asked.verificationUriComplete);
  await page.getByLabel("The check code").fill(asked.checkCode);
  await page.getByRole("button", { name: "Approve with passkey" }).click();
}

test("WRP-03: a copy of the root that the server swapped signs nothing", { timeout: 300_000 }, async () => {
  const [person, stranger] = [await Person.at(), await Person.at()];
  const { page } = person;
  try {
    await person.signUp(server.url);
    // Another account's copies, as their own page gets them.
    await stranger.signUp(server.url);
    const theirs = stranger.page.waitForResponse(/sign-in\/finish$/);
    await stranger.page.goto(`${server.url}/settings`);
    await stranger.page.getByRole("button", { name: "Sign out here" }).click();
    await stranger.page.getByRole("button", { name: "Sign in with a passkey" }).click();
    const other = (await (await theirs).json()) as { root: string; wraps: Json[] };

    const asked = await enrolElsewhere(asking("Television"));
    const mine = (truth: Json): Json => (truth["wraps"] as Json[]).find((wrap) => (wrap["opener"] as Json)["kind"] === "passkey") ?? {};
    const foreign = other.wraps.find((wrap) => (wrap["opener"] as Json)["kind"] === "passkey") ?? {};
    const swaps: [string, (truth: Json) => Json][] = [
      ["another account's", (truth) => ({ ...truth, root: other.root, wraps: other.wraps })],
      ["another account's under my passkey's name", (truth) => ({ ...truth, root: other.root, wraps: [{ ...foreign, opener: mine(truth)["opener"] }] })],
      ["of another passkey", (truth) => ({ ...truth, wraps: [{ ...mine(truth), opener: { ...(mine(truth)["opener"] as Json), credential_id: "b3RoZXI" } }] })],
      ["of another root", (truth) => ({ ...truth, root: other.root, wraps: [{ ...mine(truth), root: other.root }] })],
      ["the attacker's", (truth) => ({ ...truth, wraps: [{ ...mine(truth), ct: foreign["ct"], salt: foreign["salt"], iv: foreign["iv"] }] })],
    ];
    for (const [name, swap] of swaps) {
      const before = person.seen.length;
      await lie(page, /sign-in\/finish$/, swap);
      await tries(page, asked);
      // Copies of which none is for this passkey are as good as none.
      await alerted(page, name === "of another passkey" ? "cannot keep your root" : "Nothing was signed");
      assert.ok(!signedSince(person, before), name);
    }
    await tries(page, asked);
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
  } finally {
    await person.close();
    await stranger.close();
  }
});

test("DEV-06: what is to be signed is what was shown, and goes on from the log this browser knows", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    await tries(page, await enrolElsewhere(asking("First")));
    await page.getByRole("heading", { name: "First is yours now" }).waitFor();
    const asked = await enrolElsewhere(asking("Television"));
    const visible = (change: Json) => (truth: Json): Json => {
      const template = truth["template"] as { visible: Json; disclosable: Json };
      return { ...truth, template: { ...template, visible: { ...template.visible, ...change } } };
    };
    const lies: [RegExp, (truth: Json) => Json, RegExp][] = [
      [/\/offer$/, visible({ client_id: "shop" }), /Nothing was signed/],
      [/\/offer$/, visible({ tier: "full" }), /Nothing was signed/],
      [/\/offer$/, visible({ status_issuer: "did:web:evil.example" }), /Nothing was signed/],
      [/\/offer$/, (truth) => ({ ...truth, entries: [...(truth["entries"] as string[]), "{}"] }), /Nothing was signed/],
      [/requests\/open$/, (truth) => ({ ...truth, shown: { ...(truth["shown"] as Json), claims: { name: "Something else", kind: "tv" } } }), /went wrong/],
      [/\/v1\/logs\//, () => ({ entries: [] }), /another history of your devices/],
    ];
    for (const [path, change, said] of lies) {
      const before = person.seen.length;
      await lie(page, path, change);
      if (String(path).includes("open")) {
        await page.goto("about:blank");
        await page.goto(asked.verificationUriComplete);
      } else {
        await tries(page, asked);
      }
      await alerted(page, said);
      assert.ok(!signedSince(person, before), String(path));
      await page.unroute(path);
    }
    await tries(page, asked);
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
    // A second approval of the same request finds it decided.
    await page.goto("about:blank");
    await page.goto(asked.verificationUriComplete);
    await alerted(page, "has decided about this request");
  } finally {
    await person.close();
  }
});

test("DEV-17, INP-03: names that would mislead are refused or stand by themselves", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    for (const name of ["i\u202ePhone", "a\u200bb", "\u2066x"]) {
      await assert.rejects(enrolElsewhere(asking(name)), (error: unknown) => error instanceof Refused && error.code === "input.name", JSON.stringify(name));
    }
    // INP-02: markup is text wherever it is shown: where it is asked, in the lists, and in what happened.
    const markup = "<img src=x onerror=alert(1)>";
    let dialogs = 0;
    page.on("dialog", (dialog) => void (dialogs++, dialog.dismiss()));
    await tries(page, await enrolElsewhere({ ...asking(markup), reason: `${markup} because` }));
    await page.getByRole("heading", { name: "is yours now" }).waitFor();
    for (const path of ["/", "/activity"]) {
      await page.goto(server.url + path);
      await page.getByText(markup).first().waitFor();
      assert.equal(await page.locator("main img").count(), 0, path);
    }
    await page.goto(server.url);
    await page.getByRole("button", { name: `Revoke ${markup}` }).click();
    await page.getByRole("dialog").getByText(markup).waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Keep it" }).click();
    await page.getByRole("button", { name: `${markup} wasn't me` }).click();
    await page.getByRole("heading", { name: markup }).waitFor();
    assert.deepEqual([await page.locator("main img, dialog img").count(), dialogs], [0, 0]);
    // Nor is the name of an app anything else: anybody may register one here.
    const registered = (await (
      await fetch(`${server.url}/identity/register`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ client_name: markup, redirect_uris: ["http://127.0.0.1/callback"], token_endpoint_auth_method: "none" }),
      })
    ).json()) as { client_id: string };
    await page.goto((await enrolHere({ ...asking("Laptop"), clientId: registered.client_id }, "http://127.0.0.1:9/callback")).url);
    await page.getByRole("definition").filter({ hasText: markup }).waitFor();
    assert.deepEqual([await page.locator("main img").count(), dialogs], [0, 0]);
    const homoglyph = "iРhone";
    await page.goto((await enrolElsewhere(asking(homoglyph))).verificationUriComplete);
    await page.locator("bdi", { hasText: homoglyph }).first().waitFor();
    await page.getByRole("heading", { name: "What the device says of itself" }).waitFor();
  } finally {
    await person.close();
  }
});

test("DEV-10, DEV-16: what is no link of a device, and one that a page of this very device leads to", async () => {
  const person = await Person.at();
  const { page } = person;
  const asked = await enrolElsewhere({ ...asking("Television"), reason: "To play your films" });
  // Somebody's mail, or an app on this device.
  const mail = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(`<a href="${asked.verificationUriComplete}">Your code</a>`)).listen(0, "127.0.0.1");
  try {
    await new Promise((resolve) => mail.once("listening", resolve));
    await person.signUp(server.url);
    await page.goto(`http://127.0.0.1:${(mail.address() as AddressInfo).port}/`);
    await page.getByRole("link", { name: "Your code" }).click();
    await alerted(page, "opened from a page on this very device");
    await page.goto(`${server.url}/device#aeio`);
    await alerted(page, "not the code of a device");
    await page.getByLabel("Code on the new device").fill("https://evil.example/device#BCDF-GHJK");
    await page.getByRole("button", { name: "Look at it" }).click();
    await alerted(page, "not the code of a device");
    // As whoever scans it or types it has it.
    await page.getByLabel("Code on the new device").fill(asked.verificationUriComplete);
    await page.getByRole("button", { name: "Look at it" }).click();
    await page.getByText("The keys of the QR code you scanned").waitFor();
    await page.getByRole("definition").filter({ hasText: "To play your films" }).waitFor();
    assert.deepEqual(person.seen.filter((text) => text.includes("evil.example/")), []);
  } finally {
    mail.close();
    mail.closeAllConnections();
    await person.close();
  }
});

test("HTTP-07, HTTP-08: in nobody's frame, for nobody's form, and not after the person has left", async () => {
  const person = await Person.at();
  const { page } = person;
  const evil = createServer((_, answer) => {
    answer.setHeader("content-type", "text/html");
    answer.end(
      `<iframe id="frame" src="${server.url}/settings"></iframe>` +
        `<form id="form" method="post" enctype="text/plain" action="${server.url}/identity/v1/account/delete"><input name='{"x":"' value='"}'></form>`,
    );
  }).listen(0, "127.0.0.1");
  try {
    await new Promise((resolve) => evil.once("listening", resolve));
    await person.signUp(server.url);
    await page.goto(`http://127.0.0.1:${(evil.address() as AddressInfo).port}/`);
    const frame = await (await page.locator("#frame").elementHandle())?.contentFrame();
    assert.ok(frame);
    await assert.rejects(frame.locator("h1").waitFor({ timeout: 2000 }), "the page shows in a frame");
    const refused = page.waitForResponse(/account\/delete$/);
    await page.locator("#form").evaluate((form) => (form as HTMLFormElement).submit());
    assert.equal((await refused).status(), 403);
    await page.waitForURL(/account\/delete$/);

    // A page that stands open after its person has left does nothing, and says so.
    await page.goto(`${server.url}/passkeys`);
    await page.getByRole("button", { name: "Remove Passkey 1" }).waitFor();
    await person.signedOutElsewhere();
    await page.getByRole("button", { name: "Remove Passkey 1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await alerted(page, "signed out");
  } finally {
    evil.close();
    await person.close();
  }
});
