/** The witness that other tests rely on sees a leak wherever it goes and however it is spelled. */

import { RecoveryCode } from "@baton/sdk";
import { Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { Person } from "./person.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

/** Takes WebSocket connections and whatever comes (RFC 6455 §4.2.2); a page to come from, with no policy. */
const anybody = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<p>anybody's page")).on("upgrade", (request, socket) => {
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"] ?? ""}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
});

const SPELLED: Record<string, (secret: Buffer) => string> = {
  base64: (secret) => secret.toString("base64"),
  base64url: (secret) => secret.toString("base64url"),
  hex: (secret) => secret.toString("hex").toUpperCase(),
  "in the middle of base64": (secret) => Buffer.concat([Buffer.from("x"), secret, Buffer.from("yz")]).toString("base64"),
  "in the middle of base64url": (secret) => Buffer.concat([Buffer.from("xy"), secret, Buffer.from("z")]).toString("base64url"),
  numbers: (secret) => JSON.stringify([...secret]),
};

const WAYS: Record<string, (page: Page, text: string) => Promise<unknown>> = {
  "an address": (page, text) => page.evaluate((said) => fetch(`/planted?${encodeURIComponent(said).replaceAll("%2F", "/").replaceAll("%2B", "+").replaceAll("%2C", ",")}`).then(() => 0), text),
  "a header": (page, text) => page.evaluate((said) => fetch("/planted", { headers: { planted: said } }).then(() => 0), text),
  "a body": (page, text) => page.evaluate((said) => fetch("/planted", { method: "POST", body: JSON.stringify({ planted: said }) }).then(() => 0), text),
  "the console": (page, text) => page.evaluate((said) => console.debug({ planted: said }.planted), text),
  "local storage": (page, text) => page.evaluate((said) => localStorage.setItem("planted", said), text),
  "session storage": (page, text) => page.evaluate((said) => sessionStorage.setItem("planted", said), text),
  "a cookie": (page, text) => page.evaluate((said) => void (document.cookie = `planted=${said}`), text),
  "a database": (page, text) =>
    page.evaluate(
      (said) =>
        new Promise((resolve, reject) => {
          const open = indexedDB.open("planted", 1);
          open.onupgradeneeded = () => open.result.createObjectStore("planted").put({ said }, "planted");
          open.onsuccess = () => (open.result.close(), resolve(0));
          open.onerror = () => reject(new Error("not planted"));
        }),
      text,
    ),
  "a frame": (page, text) =>
    page.evaluate(
      (said) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(location.href.replace("http", "ws"));
          socket.onopen = () => (socket.send(said), resolve(0));
          socket.onerror = () => reject(new Error("not planted"));
        }),
      text,
    ),
};

test("a leak is seen wherever it goes, in every spelling", { timeout: 120_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  await new Promise<void>((resolve) => anybody.listen(0, "127.0.0.1", resolve));
  try {
    await page.goto(`http://127.0.0.1:${(anybody.address() as AddressInfo).port}/`);
    for (const [way, plant] of Object.entries(WAYS)) {
      for (const [how, spell] of Object.entries(SPELLED)) {
        const secret = randomBytes(32);
        assert.equal(await person.leaked(secret), undefined, "not before");
        await page.evaluate(() => indexedDB.deleteDatabase("planted"));
        await plant(page, spell(secret));
        await page.waitForFunction(() => true);
        assert.notEqual(await eventually(() => person.leaked(secret)), undefined, `${how} in ${way}`);
      }
    }
    // The bytes themselves, in a body and in a frame; and a key that a script could read.
    for (const plant of [
      (bytes: number[]): Promise<void> => page.evaluate((all) => fetch("/planted", { method: "POST", body: Uint8Array.from(all) }).then(() => undefined), bytes),
      (bytes: number[]): Promise<void> =>
        page.evaluate(
          (all) =>
            new Promise<void>((resolve) => {
              const socket = new WebSocket(location.href.replace("http", "ws"));
              socket.onopen = () => (socket.send(Uint8Array.from(all)), resolve());
            }),
          bytes,
        ),
      (bytes: number[]): Promise<void> =>
        page.evaluate(async (all) => {
          const key = await crypto.subtle.importKey("raw", Uint8Array.from(all), "AES-GCM", true, ["encrypt"]);
          await new Promise<void>((resolve) => {
            const open = indexedDB.open("planted key", 1);
            open.onupgradeneeded = () => open.result.createObjectStore("planted").put(key, "planted");
            open.onsuccess = () => (open.result.close(), resolve());
          });
        }, bytes),
    ]) {
      const secret = randomBytes(32);
      await plant([...secret]);
      assert.notEqual(await eventually(() => person.leaked(secret)), undefined);
    }
  } finally {
    anybody.close();
    anybody.closeAllConnections();
    await person.close();
  }
});

/** What the browser tells of comes a moment after it happened. */
async function eventually(look: () => Promise<string | undefined>): Promise<string | undefined> {
  for (let tries = 0; tries < 100; tries++) {
    const found = await look();
    if (found !== undefined) return found;
  }
  return undefined;
}

test("the pages keep no key that a script could read, and no root; one that left would be seen, and so would a recovery code", async () => {
  const person = await Person.at();
  try {
    const code = await person.signUp(server.url);
    await person.kept(code);
    const [seed = new Uint8Array(1)] = person.witness.seeds;
    await person.page.evaluate((bytes) => console.log(bytes), Buffer.from(seed).toString("hex"));
    assert.notEqual(await eventually(() => person.leaked(seed)), undefined, "it would be seen");
    for (const said of [code.toLowerCase(), Buffer.from(RecoveryCode.parse(code).secret()).toString("base64")]) {
      const other = await Person.at();
      try {
        await other.page.goto(server.url);
        assert.equal(await other.leaked(code), undefined);
        await other.page.evaluate((text) => localStorage.setItem("planted", text), said);
        assert.notEqual(await other.leaked(code), undefined, said);
      } finally {
        await other.close();
      }
    }
  } finally {
    await person.close();
  }
});
