/** A person looks after their account in the pages: devices, sessions, passkeys, recovery code, language, leaving. */

import { Http, Offered, Refused, Session, presentDevices, sayPresent, enrolElsewhere, serversAt, type Device } from "@baton/sdk";
import { Server, hurried } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { App } from "./app.js";
import { CALLBACK, asking, full, told } from "./enrolled.js";
import { Person, alerted } from "./person.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

async function limited(page: Page, name: string): Promise<Device> {
  const asked = await enrolElsewhere(asking(server, name, "tv"));
  await page.goto(asked.verificationUriComplete);
  await page.getByText("The keys of the QR code you scanned").waitFor();
  await page.getByLabel("The check code").fill(asked.checkCode);
  await page.getByRole("button", { name: "Approve with passkey" }).click();
  await page.getByRole("heading", { name: `${name} is yours now` }).waitFor();
  return asked.redeem();
}

const go = (page: Page, to: string): Promise<void> => page.getByRole("navigation").getByRole("link", { name: to }).click();

test("devices, sessions, activity: names, tiers, consents, and what wasn't me", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    const laptop = await full(server, page, "Laptop");
    // Pages that stand open show what happens elsewhere by themselves.
    const [devices, activity] = [await person.newWindow(), await person.newWindow()];
    await devices.goto(server.url);
    await devices.getByRole("heading", { name: "Laptop" }).waitFor();
    await activity.goto(`${server.url}/activity`);
    await activity.getByText("You created your account").waitFor();
    await page.bringToFront();
    const tv = await limited(page, "Television");
    await devices.bringToFront();
    await devices.getByRole("heading", { name: "Television" }).waitFor();
    await devices.close();
    const session = await Session.open(laptop, new TextEncoder().encode("minute 43"));

    await page.goto(server.url);
    await page.getByText("last there").first().waitFor();
    await page.getByRole("button", { name: "Rename Laptop" }).click();
    await page.getByLabel("New name").fill("Kitchen");
    await page.getByRole("button", { name: "Save" }).click();
    await told(page, /It is called .Kitchen. now/);
    assert.deepEqual((await laptop.members()).labels.find((label) => label.device === laptop.did)?.name, "Kitchen");
    await activity.bringToFront();
    await activity.getByText("You renamed a device").waitFor();
    await activity.close();
    await page.bringToFront();

    await page.getByRole("button", { name: "Make Television a full device" }).click();
    await page.getByText("it called itself Television").waitFor();
    await person.isAccessible();
    await page.getByRole("dialog").getByRole("button", { name: "Make it full" }).click();
    await told(page, "is a full device now");
    await tv.forgetTokens();
    await Session.open(tv, new TextEncoder().encode("by itself"));
    assert.equal(tv.tier, "full");

    // What a device takes part in: at once, and for the others as well.
    await page.getByLabel("What Television takes part in").click();
    await page.getByLabel("It has the sessions of your other devices").uncheck();
    await told(page, "Saved");
    await person.isAccessible();
    assert.deepEqual((await laptop.members()).withoutSync, [tv.did]);
    await assert.rejects(Session.load(tv, session.id), (error: unknown) => error instanceof Refused && error.code === "not_found");
    await page.getByLabel("It has the sessions of your other devices").check();
    await told(page, "Saved");
    await session.write(new TextEncoder().encode("minute 44"));
    assert.deepEqual((await laptop.members()).withoutSync, []);

    // Sessions show by themselves, where they are and where they went.
    await go(page, "Sessions");
    await page.getByText("on Kitchen, not connected").waitFor();
    await person.isAccessible();
    await sayPresent(laptop, "online", { session });
    await page.getByText("on Kitchen, there now, catching up, shown there").waitFor();
    const followed = await Session.load(tv, session.id);
    await sayPresent(tv, "online", { session: followed });
    await page.getByText("also shown on Television").waitFor();
    await person.isAccessible();

    // What the others see of it is the person's to say: what it shows, and that it is there.
    await sayPresent(tv, "online", { session: followed, view: new TextEncoder().encode("minute 44") });
    const seen = async (): Promise<(boolean | undefined)[]> => {
      const television = (await presentDevices(laptop)).find(({ device }) => device === tv.did);
      return [television !== undefined, television?.session === session.id, television?.view !== undefined];
    };
    assert.deepEqual(await seen(), [true, true, true]);
    const part = await person.newWindow();
    await part.goto(server.url);
    await part.getByLabel("What Television takes part in").click();
    const turn = async (what: string, on: boolean): Promise<void> => {
      await part.getByLabel(what).setChecked(on);
      await told(part, "Saved");
      await part.getByLabel(what).and(part.locator(":enabled")).waitFor();
    };
    await turn("They see what it shows", false);
    assert.deepEqual(await seen(), [true, false, false]);
    await turn("Your other devices see that it is there", false);
    assert.deepEqual(await seen(), [false, false, false]);
    await turn("Your other devices see that it is there", true);
    await turn("They see what it shows", true);
    await sayPresent(tv, "online", { session: followed, view: new TextEncoder().encode("minute 45") });
    assert.deepEqual(await seen(), [true, true, true]);
    await part.close();
    await page.bringToFront();

    await page.getByRole("button", { name: "Put it away on Television" }).click();
    await told(page, "told to put it away");
    await page.getByText("also shown on Television").waitFor({ state: "hidden" });
    await sayPresent(laptop, "away");
    await page.getByText("on Kitchen, there, not in front").waitFor();
    const offered = await Offered.make(session, { device: tv.did });
    await page.getByText("being handed over").waitFor();
    await offered.cancel();
    await page.getByRole("button", { name: "Ask it to hand over" }).first().click();
    await told(page, "The device was asked");
    await page.getByRole("listitem").filter({ hasText: "on Kitchen" }).getByRole("button", { name: "End this session" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "End" }).click();
    await told(page, "The session has ended");
    await assert.rejects(session.write(new TextEncoder().encode("late")), Refused);

    await go(page, "Activity");
    await page.getByText("You made a device full").waitFor();
    await page.getByRole("listitem").filter({ hasText: /Kitchen → Television\s*cancelled/ }).waitFor();
    await person.isAccessible();
    await page.getByRole("button", { name: "Withdraw what you allowed" }).first().click();
    await page.getByRole("dialog").getByRole("button", { name: "Withdraw" }).click();
    await told(page, "Withdrawn");
    await laptop.forgetTokens();
    await assert.rejects(laptop.members(), (error: unknown) => error instanceof Refused && error.code === "status.revoked");

    await go(page, "Devices");
    await page.getByRole("button", { name: "Television wasn't me" }).click();
    await page.getByRole("heading", { name: "Somebody else added Television" }).waitFor();
    await person.isAccessible();
    await page.getByRole("button", { name: "Take the device out" }).click();
    await told(page, /Television.? is out/);
    await page.getByText("It is out.").waitFor();
    // Whoever looks around on the way comes back to where they were.
    await page.getByRole("link", { name: "Check your passkeys" }).click();
    await page.getByRole("heading", { name: "Passkeys and recovery" }).waitFor();
    await page.goBack();
    await page.getByText("It is out.").waitFor();
    await tv.forgetTokens();
    await assert.rejects(tv.members(), (error: unknown) => error instanceof Refused && error.code === "status.revoked");
    await page.getByRole("button", { name: "Sign out everywhere else" }).click();
    await told(page, "Every other browser is signed out");
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("heading", { name: "Your devices" }).waitFor();
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);
  } finally {
    await person.close();
  }
});

test("what is near its end is renewed", { timeout: 120_000 }, async () => {
  const later = await Server.start();
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(later.url);
    const asked = await enrolElsewhere({ ...asking(server, "Television", "tv"), servers: serversAt(later.url) });
    await page.goto(asked.verificationUriComplete);
    await page.getByLabel("The check code").fill(asked.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
    await asked.redeem();
    const TEN_MONTHS = 310 * 24 * 3600;
    await later.returnsAfter(TEN_MONTHS);
    await page.clock.setFixedTime(Date.now() + TEN_MONTHS * 1000);
    await page.goto(later.url);
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.getByText("its credential ends").waitFor();
    await page.getByRole("button", { name: "Renew Television" }).click();
    await told(page, "has a new credential for another year");
    await page.getByText("its credential ends").waitFor({ state: "hidden" });
  } finally {
    await person.close();
    later.stop();
  }
});

test("who looked at many devices and added none goes on with the passkey alone", { timeout: 120_000 }, async () => {
  const pestered = await Server.start();
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(pestered.url);
    // Later, and still signed in.
    const TEN_MINUTES = 600;
    await pestered.returnsAfter(TEN_MINUTES);
    const http = new Http({ ...hurried, now: () => Date.now() + TEN_MINUTES * 1000 });
    const ask = (name: string): ReturnType<typeof enrolElsewhere> => enrolElsewhere({ ...asking(server, name, "tv"), http, servers: serversAt(pestered.url) });
    for (const name of ["One", "Two", "Three"]) {
      await page.goto((await ask(name)).verificationUriComplete);
      await page.getByText(name, { exact: true }).waitFor();
    }
    const own = await ask("Television");
    await page.goto(own.verificationUriComplete);
    await alerted(page, "You have looked at several devices without adding one");
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.getByLabel("The check code").fill(own.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
    await own.redeem();
  } finally {
    await person.close();
    pestered.stop();
  }
});

test("a second passkey, a new recovery code, taking everything along, leaving", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    const old = await person.signUp(server.url);
    const film = await Session.open(await full(server, page, "Laptop"), new TextEncoder().encode("minute 43"));
    await page.goto(server.url);
    await go(page, "Passkeys");
    const words = await page.locator(".words:not(:empty)").textContent();
    assert.match(words ?? "", /^([a-z]+ ){5}[a-z]+$/);
    await page.getByText("If this one is lost").waitFor();
    await person.isAccessible();
    await page.getByRole("button", { name: "Remove Passkey 1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await alerted(page, "last passkey that opens your root");

    await person.willTakeAnother();
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await told(page, "can approve devices");
    await page.getByRole("button", { name: "Remove Passkey 1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await told(page, "The passkey is removed");

    // The one that is left opens the root: it signs a new copy for a new code.
    await page.getByRole("button", { name: "Make a new code" }).click();
    const code = (await page.getByTestId("recovery-code").textContent()) ?? "";
    assert.notEqual(code, old);
    await person.isAccessible();
    await page.getByLabel("Type its last group").fill("0000".slice(0, (code.split("-").at(-1) ?? "").length));
    await page.getByRole("button", { name: "I have written it down" }).click();
    await alerted(page, "not the last group");
    await page.getByLabel("Type its last group").fill(code.split("-").at(-1) ?? "");
    await page.getByRole("button", { name: "I have written it down" }).click();
    await told(page, "Your new recovery code works");

    await go(page, "Settings");
    await person.isAccessible();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
    const everything = JSON.parse(await readFile(await download.path(), "utf8")) as { activity: { kind: string }[]; sessions_by_app: Record<string, { sessions: { session: string }[] }> };
    assert.ok(everything.activity.some(({ kind }) => kind === "recovery.replaced"));
    assert.deepEqual(everything.sessions_by_app["baton"]?.sessions.map(({ session }) => session), [film.id]);

    await page.getByRole("button", { name: "Sign out here" }).click();
    await page.getByRole("button", { name: "I have only my recovery code" }).click();
    for (const [typed, works] of [[old, false], [code, true]] as const) {
      await page.getByLabel("Recovery code").fill(typed);
      await page.getByRole("button", { name: "Recover" }).click();
      if (works) await page.getByRole("heading", { name: "Your devices" }).waitFor();
      else await alerted(page, "not there any more");
    }
    await go(page, "Passkeys");
    assert.equal(await page.locator(".words:not(:empty)").textContent(), words, "the same root");

    await go(page, "Settings");
    await page.getByRole("button", { name: "Delete my account" }).click();
    const sure = page.getByRole("dialog");
    await person.isAccessible();
    assert.ok(await sure.getByRole("button", { name: "Delete my account" }).isDisabled(), "not before it is understood");
    await sure.getByLabel("I understand").check();
    await sure.getByRole("button", { name: "Delete my account" }).click();
    await page.locator("h1:focus", { hasText: "Your account is deleted" }).waitFor();
    await person.isAccessible();
    await person.kept(old, code);
    await page.goto(server.url);
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.getByRole("alert").waitFor();
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);
  } finally {
    await person.close();
  }
});

/** A key of a wallet's, proven to an issuer (OpenID4VCI, `jwt`). */
async function keyProof(issuer: string): Promise<string> {
  const { c_nonce } = (await (await fetch(`${issuer}/nonce`, { method: "POST" })).json()) as { c_nonce: string };
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { kty, crv, x, y } = publicKey.export({ format: "jwk" });
  const text = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { aud: issuer, iat: Math.floor(Date.now() / 1000), nonce: c_nonce };
  const input = `${text({ alg: "ES256", typ: "openid4vci-proof+jwt", jwk: { kty, crv, x, y } })}.${text(claims)}`;
  return `${input}.${sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

/** A wallet takes the offer behind a link and asks for its credential; gives how to fetch it. */
async function takeOffer(link: string, code: string): Promise<() => Promise<{ status: number; body: { credentials?: { credential: string }[] } }>> {
  const ask = async (url: string, headers: Record<string, string>, body: string): Promise<{ status: number; body: Record<string, string> }> => {
    const answer = await fetch(url, { method: "POST", headers, body });
    return { status: answer.status, body: (await answer.json()) as Record<string, string> };
  };
  const offer = (await (await fetch(new URL(link).searchParams.get("credential_offer_uri") ?? "")).json()) as { credential_issuer: string; grants: Record<string, Record<string, string>> };
  const [grant, { "pre-authorized_code": secret }] = Object.entries(offer.grants)[0] as [string, Record<string, string>];
  const form = new URLSearchParams({ grant_type: grant, "pre-authorized_code": secret ?? "", tx_code: code });
  const token = await ask(`${offer.credential_issuer}/token`, { "content-type": "application/x-www-form-urlencoded" }, form.toString());
  const jwt = await keyProof(offer.credential_issuer);
  const headers = { "content-type": "application/json", authorization: `Bearer ${token.body["access_token"]}` };
  const asked = await ask(`${offer.credential_issuer}/credential`, headers, JSON.stringify({ credential_configuration_id: "baton_device", proofs: { jwt: [jwt] } }));
  assert.equal(asked.status, 202, JSON.stringify(asked.body));
  return () => ask(`${offer.credential_issuer}/deferred_credential`, headers, JSON.stringify({ transaction_id: asked.body["transaction_id"] }));
}

test("a wallet: offered, asked for, approved, and a device like the others", { timeout: 180_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    await page.goto(`${server.url}/wallet`);
    await page.getByText("None yet").waitFor();
    await full(server, page, "Laptop");
    await page.goto(server.url);
    await page.getByRole("link", { name: "Add a wallet" }).click();
    const offered = async (): Promise<[string, string]> => {
      await page.getByRole("button", { name: "Make an offer" }).click();
      await page.getByRole("img", { name: "The offer as a QR code" }).waitFor();
      await person.isAccessible();
      const shots = process.env["BATON_SCREENSHOTS"];
      if (shots !== undefined) await page.screenshot({ path: `${shots}/offer.png`, fullPage: true });
      const link = await page.getByRole("link", { name: "Open in a wallet" }).getAttribute("href");
      return [link ?? "", (await page.locator(".code").innerText()).trim()];
    };
    const fetched = await takeOffer(...(await offered()));
    assert.equal((await fetched()).status, 202);
    await page.getByText("Wallet", { exact: true }).waitFor();
    await person.isAccessible();
    assert.equal((await fetched()).status, 202, "nothing before the person says so");
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Wallet is yours now" }).waitFor();
    const { status, body } = await fetched();
    assert.ok(status === 200 && body.credentials?.[0]?.credential.includes("~"));
    await page.getByRole("link", { name: "Your devices" }).click();
    await page.getByRole("button", { name: "Revoke Wallet" }).waitFor();

    await page.getByRole("link", { name: "Add a wallet" }).click();
    const refused = await takeOffer(...(await offered()));
    await page.getByRole("button", { name: "Refuse" }).click();
    await page.getByRole("heading", { name: "Refused" }).waitFor();
    assert.equal((await refused()).status, 400);
  } finally {
    await person.close();
  }
});

test("a wallet that comes by itself: refused, let ask, seen to wait, approved", { timeout: 180_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    const wallet = await App.at(server.url);
    await page.route(`${CALLBACK}**`, (route) => route.fulfill({ body: "back in the wallet" }));
    await page.goto(await wallet.push("baton_device"));
    await page.getByRole("heading", { name: "Let a wallet ask for a credential?" }).waitFor();
    await page.getByText("It gets nothing yet").waitFor();
    await page.getByRole("button", { name: "Refuse" }).click();
    await page.waitForURL(`${CALLBACK}?error=access_denied&**`);
    await page.goto(await wallet.push("baton_device"));
    await page.getByRole("button", { name: "Let it ask" }).click();
    await page.waitForURL(`${CALLBACK}?code=**`);
    const { access_token } = await wallet.redeem(page);
    const ask = (path: string, body: object): Promise<Response> => wallet.post(path, access_token, body);
    await page.goto(server.url);
    await page.getByRole("link", { name: "Add a wallet" }).waitFor();
    assert.equal(await page.getByText("A wallet waits").count(), 0);
    const asked = await ask("credential", { credential_configuration_id: "baton_device", proofs: { jwt: [await keyProof(wallet.issuer.href)] } });
    const { transaction_id } = (await asked.json()) as { transaction_id: string };
    assert.equal((await ask("deferred_credential", { transaction_id })).status, 202);
    await page.goto(server.url);
    await page.getByText("A wallet waits for its credential.").waitFor();
    await person.isAccessible();
    await page.getByRole("link", { name: "Look at what it asks" }).click();
    await page.getByRole("button", { name: "Look at what it asks" }).click();
    await page.getByText("Wallet", { exact: true }).waitFor();
    assert.equal(await page.getByLabel("The check code").count(), 0, "it came by the redirect: nothing is typed");
    await person.isAccessible();
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Wallet is yours now" }).waitFor();
    assert.equal((await ask("deferred_credential", { transaction_id })).status, 200);
    await page.goto(server.url);
    await page.getByRole("button", { name: "Revoke Wallet" }).waitFor();
    assert.equal(await page.getByText("A wallet waits").count(), 0);
  } finally {
    await person.close();
  }
});

test("DEV-10: the QR code of another device than the one shown is refused", async () => {
  const person = await Person.at();
  const { page } = person;
  try {
    await person.signUp(server.url);
    const [mine, theirs] = [await enrolElsewhere(asking(server, "Television", "tv")), await enrolElsewhere(asking(server, "Television", "tv"))];
    // A server that answers with another device than the one whose code was scanned.
    await page.goto(`${server.url}/device#${theirs.userCode}.${mine.verificationUriComplete.split(".").at(-1)}`);
    await page.getByLabel("The check code").fill(theirs.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await alerted(page, "Nothing was signed");
    await page.goto("about:blank");
    await page.goto(theirs.verificationUriComplete);
    await page.getByLabel("The check code").fill(theirs.checkCode);
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
  } finally {
    await person.close();
  }
});
