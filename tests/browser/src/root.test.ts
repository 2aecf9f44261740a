/** A person replaces their root: agreed to in the app, switched to in the page, and nothing is lost on the way. */

import { Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { Person, alerted, passOn } from "./person.js";
import { Player, plays } from "./player.js";

let server: Server;
let films: Player;
before(async () => {
  server = await Server.start();
  films = await Player.serve(server);
});
after(() => {
  server.stop();
  films.stop();
});

/** Nobody has to agree: no device is left. */
async function replaceRoot(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Replace your root" }).click();
  await page.getByRole("button", { name: "Make a new root" }).click();
  const code = (await page.getByTestId("recovery-code").textContent()) ?? "";
  await page.getByLabel("Type its last group").fill(code.split("-").at(-1) ?? "");
  await page.getByRole("button", { name: "I have written it down" }).click();
  await page.getByRole("button", { name: "Replace it now" }).click();
}

test("the root is replaced, the film goes on, and the old code is worth nothing", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    const old = await person.signUp(server.url);
    const laptop = await person.newWindow();
    await films.join(page, "laptop");
    await page.goto(`${server.url}/passkeys`);
    await laptop.goto(films.at("laptop"));
    await plays(laptop, "here");
    const words = await page.locator(".words:not(:empty)").textContent();

    await page.getByRole("button", { name: "Replace your root" }).click();
    await page.getByRole("heading", { name: "Replace your root" }).waitFor();
    await person.isAccessible();
    await page.getByRole("button", { name: "Make a new root" }).click();
    const code = (await page.getByTestId("recovery-code").textContent()) ?? "";
    await page.getByLabel("Type its last group").fill(code.split("-").at(-1) ?? "");
    await page.getByRole("button", { name: "I have written it down" }).click();
    await page.getByText("waits for one of your full devices").waitFor();
    assert.ok(await page.getByRole("button", { name: "Replace it now" }).isDisabled(), "not before the app agreed");
    await person.isAccessible();

    // The app shows what the page shows, and agrees; the page goes on by itself.
    await laptop.reload();
    await laptop.getByRole("button", { name: "It is the same: agree" }).waitFor();
    assert.equal(await laptop.locator("#fingerprint").textContent(), await page.locator(".words").textContent());
    await laptop.getByRole("button", { name: "It is the same: agree" }).click();
    await laptop.getByRole("status").getByText("Agreed").waitFor();
    await page.getByText("Laptop agreed").waitFor();

    // A server that shows another root, or another issuer than this browser made, is caught: nothing is signed.
    await page.route("**/v1/account/root", async (route) => {
      const answer = await passOn(route);
      const body = (await answer.json()) as { asked: { root: string; wraps: { root: string }[] | null } | null };
      if (body.asked?.wraps) body.asked.root = "A".repeat(43);
      await route.fulfill({ response: answer, json: body });
    });
    await page.getByRole("button", { name: "Replace it now" }).click();
    await alerted(page, "Nothing was signed");
    await page.unroute("**/v1/account/root");
    // An answer that is lost is asked for again, and was the switch.
    let lost = 0;
    await page.route("**/v1/account/root/approve", async (route) => {
      await passOn(route);
      lost++;
      await route.abort();
    }, { times: 1 });
    await page.getByRole("button", { name: "Replace it now" }).click();
    await page.getByRole("status").filter({ hasText: "Your root is replaced" }).waitFor();
    assert.equal(lost, 1);
    assert.notEqual(await page.locator(".words:not(:empty)").textContent(), words);

    // The film goes on in the window, which has its new credential by itself.
    await laptop.getByLabel("Position").fill("125");
    await plays(laptop, "The General, 2:05, here");
    const television = await person.newWindow();
    await television.goto(films.at("television"));
    await television.getByLabel("Name of this device").fill("Television");
    await television.getByRole("button", { name: "Join from another device" }).click();
    const user = (await television.locator("#code:not(:empty)").textContent()) ?? "";
    const check = (await television.locator("#check").textContent()) ?? "";
    await page.goto(`${server.url}/device#${user}`);
    await page.getByLabel("The check code").fill(check);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
    await plays(television, "Nothing plays yet");
    await laptop.reload();
    await laptop.getByLabel("Hand over to").selectOption({ label: "Television" });
    await laptop.getByRole("button", { name: "Hand over" }).click();
    await television.getByRole("button", { name: "Go on here" }).click();
    await plays(television, "The General, 2:05, here");

    await page.goto(`${server.url}/activity`);
    await page.getByText("Your root was replaced").waitFor();
    await page.getByText("A device agreed to your new root").waitFor();
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);

    // Only the new code comes back, on a new passkey, in a browser that knew the old root.
    await person.signedOutElsewhere();
    await person.newPasskeys();
    // A browser makes passkeys in the window in front alone.
    await page.bringToFront();
    await page.goto(server.url);
    await page.getByRole("button", { name: "I have only my recovery code" }).click();
    for (const [typed, works] of [[old, false], [code, true]] as const) {
      await page.getByLabel("Recovery code").fill(typed);
      await page.getByRole("button", { name: "Recover" }).click();
      if (works) await page.getByRole("heading", { name: "Your devices" }).waitFor();
      else await alerted(page, "not there any more");
    }
    await person.kept(old, code);
  } finally {
    await person.close();
  }
});

test("a log in which no device was left is closed with the root, and the app goes on under the new one", { timeout: 120_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    await films.join(page, "closed");
    await page.goto(server.url);
    await page.getByRole("button", { name: "Revoke Laptop" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("status").filter({ hasText: "is out" }).waitFor();
    await page.goto(`${server.url}/passkeys`);
    await replaceRoot(page);
    await page.getByRole("status").filter({ hasText: "Your root is replaced" }).waitFor();
    await films.join(page, "reopened");
  } finally {
    await person.close();
  }
});

test("another browser that knew the root before follows to the new one, and not to a stranger's", { timeout: 120_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  const newCode = async (): Promise<void> => {
    await page.getByRole("button", { name: "Make a new code" }).click();
    const shown = (await page.getByTestId("recovery-code").textContent()) ?? "";
    await page.getByLabel("Type its last group").fill(shown.split("-").at(-1) ?? "");
    await page.getByRole("button", { name: "I have written it down" }).click();
  };
  try {
    await person.signUp(server.url);
    await page.goto(`${server.url}/passkeys`);
    // What the server gave for the root there was, from before anybody replaced it.
    let before: object = {};
    await page.route("**/v1/sign-in/finish", async (route) => {
      const answer = await passOn(route);
      before = (await answer.json()) as object;
      await route.fulfill({ response: answer });
    });
    await replaceRoot(page);
    await page.unroute("**/v1/sign-in/finish");
    await page.getByRole("status").filter({ hasText: "Your root is replaced" }).waitFor();
    // WRP-03: served back, the older root is known for what it is, though its copy opens.
    await page.route("**/v1/sign-in/finish", async (route) => route.fulfill({ response: await passOn(route), json: before }));
    await newCode();
    await alerted(page, "Nothing was signed");
    await page.unroute("**/v1/sign-in/finish");
    await page.getByRole("button", { name: "Cancel" }).click();
    // What another browser with the same, synchronised passkey remembers.
    const remembered = await page.evaluate(() => JSON.stringify(localStorage));
    await replaceRoot(page);
    await page.getByRole("status").filter({ hasText: "Your root is replaced" }).waitFor();
    const restore = (): Promise<void> => page.evaluate((kept) => Object.entries(JSON.parse(kept) as Record<string, string>).forEach(([name, value]) => localStorage.setItem(name, value)), remembered);

    await restore();
    await page.route("**/v1/sign-in/finish", async (route) => {
      const answer = await passOn(route);
      await route.fulfill({ response: answer, json: { ...((await answer.json()) as object), root_statements: [] } });
    });
    await page.reload();
    await newCode();
    await alerted(page, "Nothing was signed");
    await page.unroute("**/v1/sign-in/finish");
    await page.getByRole("button", { name: "Cancel" }).click();
    await newCode();
    await page.getByRole("status").filter({ hasText: "Your new recovery code works" }).waitFor();
  } finally {
    await person.close();
  }
});
