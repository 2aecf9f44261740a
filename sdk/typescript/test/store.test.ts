/** Where a device is kept: a file, and by several at once. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Device, Http, MemoryStore, Session } from "../src/index.js";
import { FileStore } from "../src/node.js";
import { utf8 } from "../src/base64url.js";
import { around, full, refusal } from "./people.js";
import { Server } from "./server.js";


let server: Server;
const dir = mkdtempSync(join(tmpdir(), "baton-store-"));
before(async () => {
  server = await Server.start();
});
after(() => {
  server.stop();
  rmSync(dir, { recursive: true, force: true });
});

test("a device in a file goes on where it was, under its passphrase alone", async () => {
  const path = join(dir, "device.key");
  assert.equal(await Device.load(new FileStore(path, "canary passphrase"), new Http(around)), undefined);
  const device = await full(server, "Service", new FileStore(path, "canary passphrase"));
  const session = await Session.open(device, utf8("one"));

  const again = await Device.load(new FileStore(path, "canary passphrase"), new Http(around));
  assert.ok(again);
  const same = await Session.load(again, session.id);
  assert.equal((await same.write(utf8("two"))).to, "session");

  assert.equal(statSync(path).mode & 0o777, 0o600);
  const sealed = readFileSync(path, "utf8");
  const { d } = await crypto.subtle.exportKey("jwk", device.kept.keys.signing.privateKey);
  for (const secret of [d ?? "", device.kept.credential.slice(0, 60), device.did]) assert.ok(secret !== "" && !sealed.includes(secret));
  await assert.rejects(Device.load(new FileStore(path, "another passphrase"), new Http(around)), refusal("wrap.invalid"));
  writeFileSync(path, sealed.replace(/"ct":"./, (start) => (start.endsWith("A") ? `${start.slice(0, -1)}B` : `${start.slice(0, -1)}A`)));
  await assert.rejects(Device.load(new FileStore(path, "canary passphrase"), new Http(around)), refusal("wrap.invalid"));
  assert.throws(() => new FileStore(path, ""), RangeError);
});

const pin = (seq: number) => ({ chain: `after ${seq}`, n: 1, seq, hash: `of ${seq}`, added: [] });

test("two that use one store fetch one token, and neither forgets what the other saw", async () => {
  const store = new MemoryStore();
  await full(server, "Tabs", store);
  let exchanges = 0;
  const counting = new Http({
    ...around,
    fetch: (input, init) => {
      if (String(input).endsWith("/verifier/token")) exchanges++;
      return around.fetch(input, init);
    },
  });
  const [one, two] = [await Device.load(store, counting), await Device.load(store, counting)];
  assert.ok(one && two);
  const { broker } = one.kept.servers;
  const tokens = await Promise.all([one, two, one, two].map((tab) => tab.token(broker, "session:read")));
  assert.equal(new Set(tokens).size, 1);
  // With the nonce that the first try learns.
  assert.ok(exchanges <= 2, `${exchanges} exchanges`);

  const same = { continues: () => true };
  await Promise.all([one.setPin("ses_a", pin(2), same), two.setPin("ses_b", pin(1), same)]);
  assert.deepEqual((await store.load())?.pins, { ses_a: pin(2), ses_b: pin(1) });
  await two.setPin("ses_a", pin(1), same);
  assert.deepEqual(await one.pin("ses_a"), pin(2), "what was seen is never unseen");
  // Another history takes its place where that one is over, and nowhere else; a shorter one is passed over.
  const another = { continues: () => false };
  await two.setPin("ses_a", { ...pin(9), n: 0 }, another);
  for (const over of [undefined, "after 1"]) await assert.rejects(two.setPin("ses_a", pin(9), another, over), refusal("handoff.forked"));
  await assert.rejects(two.setPin("ses_a", { ...pin(9), n: 0 }, another, "after 1"), refusal("handoff.forked"));
  assert.deepEqual(await one.pin("ses_a"), pin(2));
  await two.setPin("ses_a", { ...pin(1), chain: "other" }, another, "after 2");
  assert.equal((await one.pin("ses_a"))?.chain, "other");
});
