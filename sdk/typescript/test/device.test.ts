/** A device of this SDK against a real server: both lanes, tokens, its log, presentations, and what is refused. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Http, enrolElsewhere, enrolHere, redeemHere } from "../src/index.js";
import { CALLBACK, around, asking, full, restarted, refusal } from "./people.js";
import { Server, hurried } from "./server.js";


let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

test("lane 1 gives a full device that gets tokens and reads its log", async () => {
  const device = await full(server, "Browser");
  assert.equal(device.tier, "full");
  const { broker } = device.kept.servers;
  const token = await device.token(broker, "session:read");
  assert.equal(await device.token(broker, "session:read"), token, "kept while it lives");
  const listed = await device.http.proven({ method: "GET", service: broker, path: "/v1/sessions", token }, device.signer);
  assert.deepEqual(listed, { sessions: [] });
  const log = await device.members();
  assert.ok(log.live.includes(device.did) && log.members.some((member) => member.device === device.did));
  assert.deepEqual(log.labels.find((label) => label.device === device.did)?.name, "Browser");

  // What it kept is the device again; its keys are not readable.
  const again = await restarted(device);
  assert.equal((await again.members()).subject, device.subject);
  await assert.rejects(crypto.subtle.exportKey("pkcs8", device.kept.keys.signing.privateKey));
});

test("lane 2 gives a limited device, once its check code was typed", async () => {
  const asked = await enrolElsewhere(asking(server, "Television"));
  assert.ok(asked.verificationUriComplete.includes(asked.userCode) && !asked.verificationUriComplete.includes(asked.checkCode));
  await server.approve(asked.userCode, asked.checkCode);
  const device = await asked.redeem();
  assert.equal(device.tier, "limited");
  const scope = device.token(device.kept.servers.broker, "session:manage");
  await assert.rejects(scope, refusal("invalid_scope"));
});

test("a service's key is believed for an hour without asking again", async () => {
  let [ahead, asked] = [0, 0];
  const fetch: typeof around.fetch = (input, init) => {
    if (String(input).endsWith("/jwks")) asked++;
    return around.fetch(input, init);
  };
  const device = await restarted(await full(server, "Wall clock"), new Http({ ...around, fetch, now: () => around.now() + ahead }));
  const { broker } = device.kept.servers;
  const published = (await device.http.plain({ method: "GET", service: broker, path: "/jwks" })) as { keys: { kid: string }[] };
  const kid = published.keys[0]?.kid;
  asked = 0;
  const key = await device.keyOf(broker, kid);
  for (const [later, times] of [[3_590_000, 1], [3_610_000, 2], [0, 3]] as const) {
    ahead = later;
    assert.equal((await device.keyOf(broker, kid)).did, key.did);
    assert.equal(asked, times, "and anew when the clock went back");
  }
  await assert.rejects(device.keyOf(broker, "unheard-of"), refusal("jose.invalid"));
});

test("a relying service is told what was shown to it, once", async () => {
  const device = await full(server, "Phone");
  const [audience, nonce] = ["https://shop.example", "a nonce the shop made"];
  const shown = await device.present({ audience, nonce }, ["name"]);
  assert.equal((await server.verdict(shown, audience, "another nonce than that")).body["code"], "kb.invalid");
  assert.equal((await server.verdict(shown, "https://other.example", nonce)).body["code"], "kb.invalid");
  const { status, body } = await server.verdict(shown, audience, nonce);
  assert.deepEqual([status, body["device"], body["claims"]], [200, device.did, { name: "Phone" }]);
  assert.equal((await server.verdict(shown, audience, nonce)).body["code"], "kb.replay");
});

test("a token is worth nothing under another key", async () => {
  const [mine, theirs] = [await full(server, "Mine"), await full(server, "Theirs")];
  const { broker } = mine.kept.servers;
  const token = await mine.token(broker, "session:read");
  const request = { method: "GET", service: broker, path: "/v1/sessions", token } as const;
  await assert.rejects(mine.http.proven(request, theirs.signer), refusal("invalid_token"));
  await mine.http.proven(request, mine.signer);
});

test("lane 1 takes no answer but its own", async () => {
  const asked = asking(server, "Laptop");
  const here = await enrolHere(asked, CALLBACK);
  const redirected = new URL((await server.approve(here.url, "yes")) ?? "");
  const changed = (name: string, value: string): string => {
    const url = new URL(redirected);
    url.searchParams.set(name, value);
    return url.toString();
  };
  await assert.rejects(redeemHere(asked, here.pending, changed("state", "another")), refusal("enrol.redirect"));
  await assert.rejects(redeemHere(asked, here.pending, changed("iss", "https://evil.example")), refusal("enrol.redirect"));
  assert.equal((await redeemHere(asked, here.pending, redirected.toString())).tier, "full");
});

test("a clock that is off is learnt from the server", async () => {
  const late = new Http({ ...hurried, now: () => Date.now() - 10 * 60_000 });
  const device = await full(server, "Late");
  const away = await restarted(device, late);
  assert.ok(await away.token(away.kept.servers.broker, "session:read"));
});

test("answers that are lost cost a try each, and nothing else", async () => {
  let [sent, lost] = [0, 0];
  const fetch: typeof globalThis.fetch = async (...given) => {
    const answer = await hurried.fetch(...given);
    if (sent++ % 3 !== 1) return answer;
    lost++;
    throw new Error("lost");
  };
  const device = await full(server, "Lossy");
  const away = await restarted(device, new Http({ ...hurried, fetch }));
  assert.ok((await away.members()).live.includes(device.did));
  assert.ok(lost >= 2, `${lost} answers were lost`);
});
