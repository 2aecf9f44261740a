/** Approving: what was shown is what is signed, Rust reads what is signed here, and the other way round. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { PublicKey, RecoveryCode, Refused, Root, SoftKey, approve, hash, keysHash, readDeviceLog, shownHash, signAnew, signedName, type Known, type Offer, type Shown } from "../src/index.js";
import { encode } from "../src/base64url.js";
import { fingerprintWords } from "../src/words.js";
import { signText, verify } from "../src/jws.js";
import { fixture, golden, vectorRandom } from "./files.js";

const NOW = 1_790_000_000;
const IDENTITY = "https://baton.example/identity";
const refusal = (code: string) => (error: unknown) => error instanceof Refused && error.code === code;

/** A request, and the offer that identity would make for it. */
function request(root: Root, device: SoftKey): { shown: Shown; offer: Offer } {
  const shown: Shown = {
    request: "enr_0198a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    lane: "same_device",
    app: "player",
    client_name: "Player",
    client_id: "player-web",
    scope: "session:read session:write",
    tier: "full",
    claims: { name: "Laptop \u201cblau\u201d", kind: "laptop", platform: "Linux" },
    jkt: device.public.thumbprint,
    seen_address: "127.0.0.1",
    requested_at: NOW * 1000,
  };
  const iss = root.issuer("player").public.did;
  const first = JSON.stringify({ v: 1, n: 0, op: "open", iss, app: "player", salt: "AQEBAQEBAQEBAQEBAQEBAQ" });
  const { crv, kty, x, y } = device.public.jwk;
  const agreement_jwk = { crv, kty, x, y };
  const enrol = { v: 1, n: 1, prev: hash(first), op: "enrol", device: device.public.did, agreement_jwk, tier: "full", client_id: "player-web" };
  const visible = {
    iss,
    sub: device.public.did,
    vct: "urn:baton:vct:device-binding:1",
    iat: NOW,
    exp: NOW + 31_536_000,
    client_id: "player-web",
    tier: "full" as const,
    log: hash(first),
    status: { status_list: { idx: 77, uri: "https://baton.example/identity/v1/status-lists/1" } },
    status_issuer: "did:web:baton.example:identity",
  };
  const disclosable = { agreement_jwk, enrolled_at: NOW, ...shown.claims };
  const offer: Offer = {
    request: shown.request,
    shown_hash: shownHash(shown),
    template: { visible, disclosable },
    device_jwk: device.public.jwk,
    entries: [first, JSON.stringify(enrol)],
  };
  return { shown, offer };
}

test("what is approved here Rust reads: fixtures/typescript-v1.json", async () => {
  const random = vectorRandom();
  const prf = random(32);
  const root = Root.generate(random);
  const code = RecoveryCode.generate(random);
  const device = new SoftKey(random(32));
  const { shown, offer } = request(root, device);
  const approval = approve(root, shown, offer, { random });
  golden("typescript-v1.json", {
    account_jwk: root.account.public.jwk,
    fingerprint: root.fingerprint,
    recovery_code: code.words(),
    wrapped_for_passkey: await root.wrapForPasskey(prf, "Y3JlZA", "localhost", random),
    wrapped_for_recovery: await root.wrapForRecovery(code, random),
    prf: Buffer.from(prf).toString("base64url"),
    proof: root.proof("https://baton.example/identity", "cer_1"),
    shown,
    offer,
    approval,
  });
  const log = readDeviceLog(approval.entries);
  assert.deepEqual([log.subject, log.members[0]?.device], [offer.template.visible.log, device.public.did]);
});

test("what Rust approved is read here", () => {
  const stands = fixture<{ device_log: string[]; subject: string; credential: string }>("presentation-v1.json");
  const log = readDeviceLog(stands.device_log);
  assert.equal(log.subject, stands.subject);
  const jwt = stands.credential.split("~")[0] ?? "";
  const { claims } = verify(jwt, "dc+sd-jwt", () => PublicKey.fromDid(log.issuer));
  assert.ok(log.members.some((member) => member.device === claims["sub"]));
  assert.throws(() => readDeviceLog(stands.device_log.slice(1)), Refused, "without its first entry");
  assert.throws(() => readDeviceLog([...stands.device_log, stands.device_log[1] ?? ""]), Refused, "an entry twice");
});

test("a log is what this version would write, letter for letter, and nothing else", () => {
  const [root, device] = [Root.generate(), new SoftKey(vectorRandom()(32))];
  const issuer = root.issuer("player");
  const { offer } = request(root, device);
  const [first = "", enrol = ""] = offer.entries;
  const next = { v: 1, n: 2, prev: hash(enrol), op: "tier", device: device.public.did, tier: "limited" };
  const read = (...texts: string[]) => readDeviceLog(texts.map((text) => signText("baton-log+jwt", issuer, text)));
  assert.equal(read(first, enrol, JSON.stringify(next)).members[0]?.tier, "limited", "the control");
  const revoked = JSON.stringify({ v: 1, n: 2, prev: hash(enrol), op: "revoke", device: device.public.did });
  assert.equal(read(first, enrol, revoked).members.length, 0);
  const wrong = [{ ...next, more: 1 }, { ...next, n: 3 }, { ...next, prev: hash(first) }, { ...next, v: 2 }, { ...next, tier: "root" }, { ...next, op: "replace" }];
  for (const entry of [...wrong.map((one) => JSON.stringify(one)), JSON.stringify(next, null, 1)]) assert.throws(() => read(first, enrol, entry), Refused, entry);
  const again = JSON.stringify({ ...(JSON.parse(enrol) as object), n: 3, prev: hash(revoked) });
  assert.throws(() => read(first, enrol, revoked, again), Refused, "nobody is let in twice");
});

test("DEV-06, ENR-06, ENR-10: an offer about anything but what was shown is not signed", () => {
  const [root, device, other] = [Root.generate(), new SoftKey(vectorRandom()(32)), Root.generate().account];
  const { shown, offer } = request(root, device);
  assert.equal(approve(root, shown, offer).entries.length, 2, "the control");
  const visible = offer.template.visible;
  const withVisible = (change: object): Offer => ({ ...offer, template: { ...offer.template, visible: { ...visible, ...change } } });
  const withClaims = (change: object): Offer => ({ ...offer, template: { ...offer.template, disclosable: { ...offer.template.disclosable, ...change } } });
  const first = offer.entries[0] ?? "";
  const enrol = JSON.parse(offer.entries[1] ?? "") as object;
  const attacks: Record<string, [Shown, Offer]> = {
    "another name was shown": [{ ...shown, claims: { ...shown.claims, name: "Somebody's" } }, offer],
    "another request": [shown, { ...offer, request: "enr_0198a1b2c3d47e5f8a9b0c1d2e3f4a5c" }],
    "another device key": [shown, { ...offer, device_jwk: other.public.jwk }],
    "another holder": [shown, withVisible({ sub: other.public.did })],
    "another issuer": [shown, withVisible({ iss: other.public.did })],
    "another client": [shown, withVisible({ client_id: "shop" })],
    "a higher tier": [{ ...shown, tier: "limited" }, offer],
    "another tier in the credential": [shown, withVisible({ tier: "limited" })],
    "another type": [shown, withVisible({ vct: "urn:evil:diploma" })],
    "a life of decades": [shown, withVisible({ exp: NOW + 3_000_000_000 })],
    "a life that is no number": [shown, withVisible({ exp: "never" })],
    "another agreement key in the log": [shown, { ...offer, entries: [first, JSON.stringify({ ...enrol, agreement_jwk: other.public.jwk })] }],
    "another agreement key in the credential": [shown, withClaims({ agreement_jwk: other.public.jwk })],
    "a member more in the log": [shown, { ...offer, entries: [first, JSON.stringify({ ...enrol, more: 1 })] }],
    "a member named twice in the log": [shown, { ...offer, entries: [first, (offer.entries[1] ?? "").replace('"op":', '"op":"revoke","op":')] }],
    "another place in the log": [shown, { ...offer, entries: [first, JSON.stringify({ ...enrol, n: 7 })] }],
    "another link in the log": [shown, { ...offer, entries: [first, JSON.stringify({ ...enrol, prev: hash("x") })] }],
    "an enrolment without its link": [shown, { ...offer, entries: [JSON.stringify({ ...enrol, prev: undefined })] }],
    "an app of another name in the log": [shown, { ...offer, entries: [first.replace('"player"', '"bank"'), offer.entries[1] ?? ""] }],
    "a tier that its lane does not give": [{ ...shown, lane: "cross_device" }, { ...offer, shown_hash: shownHash({ ...shown, lane: "cross_device" }) }],
    "a claim nobody saw": [shown, withClaims({ trust: "high" })],
    "a claim of another value": [shown, withClaims({ name: "Laptop" })],
    "another log": [shown, withVisible({ log: hash("x") })],
    "a second device in the log": [shown, { ...offer, entries: [...offer.entries, offer.entries[1] ?? ""] }],
    "another device in the log": [shown, { ...offer, entries: [first, JSON.stringify({ ...enrol, device: other.public.did })] }],
    "another operation": [shown, { ...offer, entries: [first, JSON.stringify({ ...enrol, op: "tier" })] }],
  };
  assert.equal(approve(root, shown, { ...offer, entries: [JSON.stringify({ ...enrol, n: 5 })] }).entries.length, 1, "a later entry, alone, is one");
  const extra = approve(root, shown, withVisible({ email: "x@example" }));
  assert.ok(!Buffer.from(extra.credential.split(".")[1] ?? "", "base64url").includes("email"), "what is not known is not signed");
  for (const [name, [seen, offered]] of Object.entries(attacks)) {
    assert.throws(() => approve(root, seen, offered), (error: unknown) => error instanceof Refused && error.code === "enrol.changed", name);
  }
});

test("DEV-10: a page that was told a device's keys signs for no others", () => {
  const [root, device, other] = [Root.generate(), new SoftKey(vectorRandom()(32)), Root.generate().account];
  const { shown, offer } = request(root, device);
  const keys = keysHash(device.public, device.public);
  assert.equal(approve(root, shown, offer, { keys }).entries.length, 2);
  for (const wrong of [keysHash(device.public, other.public), keysHash(other.public, device.public), "", hash("x")]) {
    assert.throws(() => approve(root, shown, offer, { keys: wrong }), refusal("enrol.changed"));
  }
});

test("an approval goes on from the log that was checked, and names this identity's status", () => {
  const [root, device, next] = [Root.generate(), new SoftKey(vectorRandom()(32)), Root.generate().account];
  const first = request(root, device);
  assert.ok(approve(root, first.shown, first.offer, { log: [], identity: IDENTITY }));
  const log = approve(root, first.shown, first.offer).entries;
  assert.throws(() => approve(root, first.shown, first.offer, { log }), refusal("enrol.changed"), "a second log beside the first");
  const other = request(root, next);
  const enrol = JSON.parse(other.offer.entries[1] ?? "") as object;
  const at = (place: object, visible: object = {}): Offer => ({
    ...other.offer,
    entries: [JSON.stringify({ ...enrol, ...place })],
    template: { ...other.offer.template, visible: { ...other.offer.template.visible, log: first.offer.template.visible.log, ...visible } },
  });
  const place = { n: 2, prev: hash(first.offer.entries[1] ?? "") };
  assert.equal(approve(root, other.shown, at(place), { log, identity: IDENTITY }).entries.length, 1);
  const wrong = [at({ ...place, n: 3 }), at({ ...place, prev: hash("x") }), at(place, { log: hash("x") })];
  for (const offer of wrong) assert.throws(() => approve(root, other.shown, offer, { log }), refusal("enrol.changed"));
  for (const visible of [{ status_issuer: "did:web:evil.example" }, { status: { status_list: { idx: 1, uri: "https://evil.example/identity/list" } } }]) {
    assert.throws(() => approve(root, other.shown, at(place, visible), { log, identity: IDENTITY }), refusal("enrol.changed"));
  }
});

test("signing anew changes what was asked for and nothing else, for devices of the log alone", () => {
  const [root, device, other] = [Root.generate(), new SoftKey(vectorRandom()(32)), Root.generate().account];
  const { shown, offer: enrolled } = request(root, device);
  const { credential, entries: log } = approve(root, shown, enrolled);
  const known: Known = { app: "player", device: device.public.did, credential, log };
  assert.equal(signedName(credential), shown.claims.name);
  const place = { v: 1, n: 2, prev: hash(enrolled.entries[1] ?? "") };
  const of = (entry: object, visible: object = {}, disclosable: object = {}): Offer => ({
    ...enrolled,
    entries: [JSON.stringify({ ...place, ...entry })],
    template: { visible: { ...enrolled.template.visible, ...visible }, disclosable: { ...enrolled.template.disclosable, ...disclosable } },
  });
  const renew = { op: "renew", device: known.device };
  const raise = { op: "tier", device: known.device, tier: "full" };
  assert.equal(signAnew(root, known, false, of(renew)).entries.length, 1);
  assert.equal(signAnew(root, known, true, of(raise)).entries.length, 1);
  const theirs = Root.generate();
  const stranger = request(theirs, other);
  const foreign = approve(theirs, stranger.shown, stranger.offer);
  const attacks: Record<string, [boolean, Offer, Known]> = {
    "raised while it was to be renewed": [false, of(raise), known],
    "renewed while it was to be raised": [true, of(renew), known],
    "another tier": [false, of(renew, { tier: "limited" }), known],
    "another device": [false, of({ ...renew, device: other.public.did }), known],
    "another holder": [false, of(renew, { sub: other.public.did }), known],
    "another key": [false, { ...of(renew), device_jwk: other.public.jwk }, known],
    "another client": [false, of(renew, { client_id: "shop" }), known],
    "another issuer": [false, of(renew, { iss: other.public.did }), known],
    "another log": [false, of(renew, { log: hash("x") }), known],
    "another status list": [false, of(renew, { status: { status_list: { idx: 1, uri: "https://evil.example/list" } } }), known],
    "another status issuer": [false, of(renew, { status_issuer: "did:web:evil.example" }), known],
    "another agreement key": [false, of(renew, {}, { agreement_jwk: other.public.jwk }), known],
    "another name": [false, of(renew, {}, { name: "Somebody's" }), known],
    "a claim more": [false, of(renew, {}, { integrity: "hardware" }), known],
    "a life of decades": [false, of(renew, { exp: NOW + 3_000_000_000 }), known],
    "an entry more": [false, { ...of(renew), entries: [JSON.stringify({ ...place, ...renew }), JSON.stringify({ ...place, ...raise })] }, known],
    "another place": [false, of({ ...renew, n: 3 }), known],
    "a device that is not in the log": [false, of({ ...renew, device: other.public.did }, { sub: other.public.did }), { ...known, device: other.public.did }],
    "a credential of another device": [false, of(renew), { ...known, credential: foreign.credential }],
  };
  for (const [name, [raised, offer, about]] of Object.entries(attacks)) assert.throws(() => signAnew(root, about, raised, offer), Refused, name);
});

test("a fingerprint as words: six of the BIP-39 list, from its first 66 bits", () => {
  assert.deepEqual(fingerprintWords(encode(new Uint8Array(32))), Array(6).fill("abandon"));
  assert.deepEqual(fingerprintWords(encode(new Uint8Array(32).fill(255))), Array(6).fill("zoo"));
  const one = new Uint8Array(32);
  one[8] = 64;
  assert.deepEqual(fingerprintWords(encode(one)), [...Array<string>(5).fill("abandon"), "ability"]);
});
