/** The example player: a film moves from window to window and from window to terminal, and nobody but the devices can read it. */

import { Server, Terminal } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { Person } from "./person.js";
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

/** Approves on the person's page what another device shows. */
async function approve(page: Page, userCode: string, checkCode: string, name: string): Promise<void> {
  await page.goto(`${server.url}/device#${userCode}`);
  await page.getByLabel("The check code").fill(checkCode);
  await page.getByRole("button", { name: "Approve with passkey" }).click();
  await page.getByRole("heading", { name: `${name} is yours now` }).waitFor();
}

test("a film moves from window to window, to a terminal and back", { timeout: 600_000 }, async () => {
  const person = await Person.at();
  try {
    await person.signUp(server.url);
    // The first window joins with the passkey of this browser, the second is approved from the person's page.
    const laptop = await person.newWindow();
    const { page } = person;
    await films.join(page, "laptop");
    await laptop.goto(films.at("laptop"));
    await plays(laptop, "here");

    // Its keys lie in this browser's database, and no script reads them; tabs of one device take turns.
    const exported = await laptop.evaluate(async () => {
      const db = await new Promise<IDBDatabase>((resolve) => {
        const open = indexedDB.open("player-laptop");
        open.onsuccess = () => resolve(open.result);
      });
      const kept = await new Promise<{ keys: Record<string, CryptoKeyPair> }>((resolve) => {
        const ask = db.transaction("device").objectStore("device").get("device") as IDBRequest<{ keys: Record<string, CryptoKeyPair> }>;
        ask.onsuccess = () => resolve(ask.result);
      });
      db.close();
      const tries = Object.values(kept.keys).flatMap(({ privateKey }) => (["jwk", "pkcs8"] as const).map((format) => crypto.subtle.exportKey(format, privateKey).then(() => "read", (error: Error) => error.name)));
      return Promise.all(tries);
    });
    assert.deepEqual(exported, Array(4).fill("InvalidAccessError"));
    await laptop.evaluate(() => void navigator.locks.request("baton player-laptop", () => new Promise((resolve) => Object.assign(window, { letGo: resolve }))));
    const tab = await person.newWindow();
    await tab.goto(films.at("laptop"));
    await laptop.waitForFunction(async () => (await navigator.locks.query()).pending?.some(({ name }) => name === "baton player-laptop"));
    assert.equal(await tab.locator("#where", { hasText: "The General" }).count(), 0, "it waits for its turn");
    await laptop.evaluate(() => (window as unknown as { letGo: () => void }).letGo());
    await plays(tab, "The General, 0:00, here");
    await tab.close();

    const television = await person.newWindow();
    await television.goto(films.at("television"));
    await television.getByLabel("Name of this device").fill("Television");
    await television.getByRole("button", { name: "Join from another device" }).click();
    const codes = { user: await television.locator("#code:not(:empty)").textContent(), check: await television.locator("#check").textContent() };
    await approve(page, codes.user ?? "", codes.check ?? "", "Television");
    await plays(television, "Nothing plays yet");
    // DEV-08: every full device says that there is a new one.
    await laptop.getByRole("status").getByText("A device of yours was added").waitFor();

    // Asked for in the person's page, the player says so.
    await page.goto(`${server.url}/sessions`);
    await page.getByText(/on Laptop, there now(?!, catching up)/).waitFor();
    await page.getByRole("button", { name: "Ask it to hand over" }).click();
    await laptop.getByRole("status").getByText("You asked for this film elsewhere").waitFor();

    // Its position, queue and settings move along.
    await laptop.getByRole("button", { name: "Next film" }).click();
    await laptop.getByLabel("Subtitles").check();
    await laptop.getByLabel("Position").fill("125");
    await plays(laptop, "Metropolis, 2:05, here");
    await laptop.reload();
    await plays(laptop, "Metropolis, 2:05, here");
    // Declined there, it stays, and this window says why.
    for (const answer of ["Not now", "Go on here"]) {
      await laptop.getByLabel("Hand over to").selectOption({ label: "Television" });
      await laptop.getByRole("button", { name: "Hand over" }).click();
      // Loaded anew, it goes on with what it had offered.
      if (answer === "Go on here") {
        await television.getByText("hands its film over").waitFor();
        await laptop.reload();
        await laptop.getByRole("status").getByText("Waiting for the other device").waitFor();
      }
      await television.getByRole("button", { name: answer }).click();
      if (answer === "Not now") await laptop.getByRole("status").getByText("It stays here (not now)").waitFor();
    }
    await plays(television, "Metropolis, 2:05, here");
    assert.ok(await television.getByLabel("Subtitles").isChecked());
    await laptop.getByRole("status").getByText("goes on there").waitFor();
    await plays(laptop, "on another device");
    // Who only looks on follows what happens there.
    await television.getByLabel("Position").fill("240");
    await plays(laptop, "Metropolis, 4:00, on another device");

    // Who is there and with what is seen by the other, and nobody else can read it.
    await laptop.getByRole("listitem").filter({ hasText: "Television, online, Metropolis, 4:00" }).waitFor();
    await page.goto(`${server.url}/sessions`);
    await page.getByRole("button", { name: "Put it away on Laptop" }).click();
    await laptop.getByRole("status").getByText("You put this film away").waitFor();
    await laptop.reload();
    await plays(laptop, "Metropolis, 4:00, on another device");

    // Asked for from here: the other window keeps it.
    await laptop.getByRole("button", { name: "Bring it here" }).click();
    await laptop.getByRole("status").getByText("Asked").waitFor();
    await television.getByText("asks for this film").waitFor();
    await television.getByRole("button", { name: "Keep it here" }).click();
    await laptop.getByRole("status").getByText("It stays there (not now)").waitFor();

    // From the window to a terminal, which is another implementation of the protocol.
    const asked = await Terminal.asks(server, "Terminal", "video");
    await approve(page, asked.userCode, asked.checkCode, "Terminal");
    await asked.joined;
    const receiving = asked.terminal.run("receive");
    const did = await asked.terminal.did();
    await television.reload();
    await television.getByLabel("Hand over to").selectOption(did);
    await television.getByRole("button", { name: "Hand over" }).click();
    const { registers } = JSON.parse((await receiving).trim().split("\n").at(-1) ?? "") as { registers: unknown };
    assert.deepEqual(registers, { now: { film: "Metropolis", at: 240, rate: 0 }, subtitles: true });
    // A device that shows no films is not among those that can take one.
    const radio = await Terminal.asks(server, "Radio");
    await approve(page, radio.userCode, radio.checkCode, "Radio");
    await radio.joined;
    // Asked for, and given: from the terminal to this window and back, from this window to the other.
    await plays(laptop, "Metropolis, 4:00, on another device");
    await laptop.getByRole("button", { name: "Bring it here" }).click();
    assert.match(await asked.terminal.gives(), /asks for .*\nType yes/);
    await plays(laptop, "Metropolis, 4:00, here");
    // What the person allows on their page is not asked: from this window to the other, and back.
    await page.goto(server.url);
    await page.getByLabel("What Television takes part in").click();
    const part = page.getByRole("listitem").filter({ hasText: "Television" });
    for (const what of ["It goes on with what is handed to it", "It hands over what it has"]) {
      await part.getByLabel(what).check();
      await page.getByRole("status").filter({ hasText: "Saved" }).waitFor();
      await part.getByLabel(what).and(page.locator(":enabled")).waitFor();
    }
    await laptop.reload();
    await plays(laptop, "Metropolis, 4:00, here");
    await laptop.getByLabel("Hand over to").waitFor();
    assert.deepEqual((await laptop.getByLabel("Hand over to").locator("option").allTextContents()).sort(), ["Television", "Terminal"]);
    await laptop.getByLabel("Hand over to").selectOption({ label: "Television" });
    await laptop.getByRole("button", { name: "Hand over" }).click();
    await plays(television, "Metropolis, 4:00, here");
    await plays(laptop, "Metropolis, 4:00, on another device");
    await laptop.getByRole("button", { name: "Bring it here" }).click();
    await plays(laptop, "Metropolis, 4:00, here");
    const again = asked.terminal.run("receive");
    await laptop.getByLabel("Hand over to").selectOption(did);
    await laptop.getByRole("button", { name: "Hand over" }).click();
    await again;

    // Revoked: the film is nobody's, and goes on in the window that asks for it.
    await page.goto(server.url);
    await page.getByRole("button", { name: "Revoke Terminal" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.goto(`${server.url}/sessions`);
    await page.getByText("free to be taken over").waitFor();
    await laptop.getByRole("button", { name: "go on here" }).click();
    await plays(laptop, "Metropolis, 4:00, here");

    // The film's name and the keys that seal it left no window in clear.
    await person.kept();
    assert.equal(await person.leaked("Metropolis"), undefined);
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);
  } finally {
    await person.close();
  }
});

test("who is revoked while away keeps what they wrote", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  try {
    const { page } = person;
    await person.signUp(server.url);
    await films.join(page, "laptop", "Laptop");
    const laptop = await person.newWindow();
    await laptop.goto(films.at("laptop"));
    await plays(laptop, "The General, 0:00, here");
    await page.goto(server.url);

    await person.network(laptop, false);
    await laptop.getByRole("status").getByText("No network").waitFor();
    await laptop.getByLabel("Note at this place").fill("written on a boat");
    await laptop.getByRole("button", { name: "Add note" }).click();
    await plays(laptop, "kept on this device");
    const note = laptop.locator("#notes").getByText("The General, 0:00: written on a boat");
    await note.waitFor();
    await page.getByRole("button", { name: "Revoke Laptop" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("button", { name: "Revoke Laptop" }).waitFor({ state: "detached" });

    // Refused when it is back, and after another start; what was written is there all the same.
    await person.network(laptop, true);
    await laptop.getByRole("status").getByText("This device was revoked").waitFor();
    await note.waitFor();
    await laptop.reload();
    await laptop.getByRole("status").getByText("This device was revoked").waitFor();
    await note.waitFor();
    await plays(laptop, "The General, 0:00, kept on this device");
  } finally {
    await person.close();
  }
});

test("what both sides write without a network comes together, and each is told of it in its language", { timeout: 600_000 }, async () => {
  const person = await Person.at();
  try {
    await person.signUp(server.url);
    await films.join(person.page, "laptop", "Laptop");
    const laptop = await person.newWindow();
    await laptop.goto(films.at("laptop", "de"));
    await plays(laptop, "The General, 0:00, hier");
    await films.join(person.page, "desk", "Desk");
    const desk = await person.newWindow();
    await desk.goto(films.at("desk", "fr"));
    // Another window of the same device would see everything meanwhile.
    await person.page.goto(server.url);
    const notes = (page: Page, ...texts: string[]): Promise<unknown> =>
      Promise.all(texts.map((text) => page.locator("#notes").getByRole("listitem").filter({ hasText: text }).waitFor()));
    const isAway = (page: Page, said: string): Promise<void> => page.getByRole("status").filter({ hasText: said }).waitFor();

    await laptop.getByLabel("Stelle", { exact: true }).fill("60");
    await plays(laptop, "The General, 1:00, hier");
    await plays(desk, "The General, 1:00, sur un autre appareil");
    await Promise.all([person.network(laptop, false), person.network(desk, false)]);
    await isAway(laptop, "Kein Netz");
    await isAway(desk, "Pas de réseau");

    // The laptop goes on, and so does the desk: it is started anew where nobody answers, and has what it had.
    for (const seconds of ["120", "125"]) await laptop.getByLabel("Stelle", { exact: true }).fill(seconds);
    await laptop.getByLabel("Notiz an dieser Stelle").fill("die Brücke");
    await laptop.getByRole("button", { name: "Notieren" }).click();
    await plays(laptop, "The General, 2:05, auf diesem Gerät aufbewahrt");
    await notes(laptop, "The General, 2:05: die Brücke");
    await desk.getByLabel("Note à cet endroit").fill("le canon");
    await desk.getByRole("button", { name: "Noter" }).click();
    await notes(desk, "The General, 1:00: le canon");
    await plays(desk, "The General, 1:00, gardé sur cet appareil");
    const nobody = `${server.url}/**`;
    await desk.route(nobody, (route) => route.abort());
    await person.network(desk, true);
    await desk.reload();
    await plays(desk, "The General, 1:00, gardé sur cet appareil");
    await notes(desk, "le canon");
    await desk.getByLabel("Position").fill("300");
    await plays(desk, "The General, 5:00, gardé sur cet appareil");

    await person.network(laptop, true);
    await isAway(laptop, "Das Netz ist wieder da");
    await plays(laptop, "The General, 2:05, hier");
    const meanwhile = laptop.locator("#away");
    assert.equal((await meanwhile.isHidden()) ? "" : await meanwhile.textContent(), "", "nobody wrote meanwhile");
    await desk.unroute(nobody);
    await desk.evaluate(() => dispatchEvent(new Event("online")));
    const told = desk.getByRole("region", { name: "Pendant votre absence" });
    await told.getByText("Laptop a écrit une note.").waitFor();
    await told.getByText("Le film est maintenant à The General, 2:05. Vous l’aviez laissé à The General, 5:00.").waitFor();
    for (const page of [laptop, desk]) await notes(page, "die Brücke", "le canon");
    await plays(desk, "The General, 2:05, sur un autre appareil");
    // What the desk had said of the place is for the person to choose.
    await told.getByText("Cet appareil était à The General, 5:00 entre-temps.").waitFor();
    await told.getByRole("button", { name: "Aller à The General, 5:00" }).click();
    for (const page of [laptop, desk]) await plays(page, "The General, 5:00");
    await told.getByRole("button", { name: "Vu" }).click();
    await told.waitFor({ state: "hidden" });

    // And the other way round.
    await person.network(laptop, false);
    await isAway(laptop, "Kein Netz");
    for (const note of ["un", "deux"]) {
      await desk.getByLabel("Note à cet endroit").fill(note);
      await desk.getByRole("button", { name: "Noter" }).click();
      await notes(desk, note);
    }
    await plays(desk, "sur un autre appareil");
    await person.network(laptop, true);
    await laptop.getByRole("region", { name: "Während du weg warst" }).getByText("Desk schrieb 2 Notizen.").waitFor();
    await notes(laptop, "die Brücke", "le canon", "un", "deux");

    await person.kept();
    for (const text of ["Brücke", "le canon"]) assert.equal(await person.leaked(text), undefined);
    assert.deepEqual(person.seen.filter((text) => text.startsWith("page error")), []);
  } finally {
    await person.close();
  }
});
