/** Replacing the root: what is signed Rust takes, what Rust signed is read here, and nothing else is signed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "../src/base64url.js";
import { Refused, Root, SoftKey, handOver, hash, issuerFingerprint, leadsTo, readDeviceLog, replacedBy, type AppChange, type AppSigned } from "../src/index.js";
import { renewEntry, replaceRootEntry, rootConsent } from "../src/deviceLog.js";
import { sign } from "../src/jws.js";
import { fixture, golden, vectorRandom } from "./files.js";

interface Stands {
  from_seed: string;
  to_seed: string;
  from: string;
  to: string;
  statement: string;
  issuer_fingerprint: string;
  before: string[];
  change: AppChange;
  signed: AppSigned;
}

const stands = fixture<Stands>("root-change-v1.json");
const [old, next] = [Root.fromSeed(decode(stands.from_seed)), Root.fromSeed(decode(stands.to_seed))];
const { before, change } = stands;

test("what is signed here Rust takes: fixtures/typescript-root-change-v1.json", () => {
  const signed = handOver(old, next, change, before, vectorRandom());
  golden("typescript-root-change-v1.json", { signed, statement: replacedBy(old, next) });
  assert.equal(readDeviceLog([...before, ...signed.entries]).issuer, next.issuer("player").public.did);
});

test("a log that Rust handed over goes on here, with everybody who was in it", () => {
  const [was, log] = [readDeviceLog(before), readDeviceLog([...before, ...stands.signed.entries])];
  assert.deepEqual([log.subject, log.members.length], [was.subject, was.members.length]);
  assert.equal(issuerFingerprint(log.issuer), stands.issuer_fingerprint);
  const [handed = "", ...rest] = stands.signed.entries;
  assert.throws(() => readDeviceLog([...before, ...rest]), Refused, "without being handed over");
  assert.throws(() => readDeviceLog([...before, handed, handed]), Refused, "twice");
});

test("a browser follows statements from the root it knew, and no other way", () => {
  const third = Root.generate();
  const both = [stands.statement, replacedBy(next, third)];
  assert.ok(leadsTo(both, stands.from, third.fingerprint) && leadsTo(both, stands.to, third.fingerprint) && leadsTo([], stands.to, stands.to));
  assert.ok(!leadsTo(both, stands.from, stands.to), "an older root is not what it is now");
  assert.ok(!leadsTo(both.slice(1), stands.from, third.fingerprint) && !leadsTo([], stands.from, stands.to), "a gap");
  const forged = sign("baton-root+jwt", third.account, { v: 1, from: stands.from, to: third.fingerprint });
  assert.throws(() => leadsTo([forged], stands.from, third.fingerprint), Refused, "by the new root alone");
});

test("nothing but the change is signed", () => {
  const [handed = "", first = "", second = ""] = change.entries;
  const [laptop, tv] = change.devices;
  assert.ok(laptop && tv);
  const visible = (to: object): AppChange => ({ ...change, devices: [laptop, { ...tv, template: { ...tv.template, visible: { ...tv.template.visible, ...to } } }] });
  const claims = (to: object): AppChange => ({ ...change, devices: [laptop, { ...tv, template: { ...tv.template, disclosable: { ...tv.template.disclosable, ...to } } }] });
  const attacks: Record<string, AppChange> = {
    "another app": { ...change, app: "shop" },
    nothing: { ...change, entries: [] },
    "no consent": { ...change, entries: [handed.replace(/"consent":"[^"]*"/, '"consent":"x"'), first, second] },
    "a device left out": { ...change, entries: [handed, first], devices: [laptop] },
    "a device without its entry": { ...change, entries: [handed, first] },
    "an entry without its device": { ...change, devices: [laptop] },
    "another order": { ...change, devices: [tv, laptop] },
    "a member more": { ...change, entries: [handed, first, second.replace('{"v"', '{"x":1,"v"')] },
    "another place": { ...change, entries: [handed, second, first] },
    "an issuer of somebody else": visible({ iss: tv.template.visible.sub }),
    "raised by the way": visible({ tier: "full" }),
    "another client": visible({ client_id: "shop" }),
    "another log": visible({ log: hash("x") }),
    "another list": visible({ status: { status_list: { idx: 1, uri: "https://evil.example/1" } } }),
    "another status issuer": visible({ status_issuer: "did:web:evil.example" }),
    "a life of decades": visible({ exp: tv.template.visible.exp + 3_000_000_000 }),
    "another name": claims({ name: "Somebody's" }),
    "a claim more": claims({ x: 1 }),
    "another agreement key": claims({ agreement_jwk: next.account.public.jwk }),
    "another key": { ...change, devices: [laptop, { ...tv, device_jwk: next.account.public.jwk }] },
    "another device's credential": { ...change, devices: [laptop, { ...tv, before: laptop.before }] },
  };
  for (const [name, attack] of Object.entries(attacks)) assert.throws(() => handOver(old, next, attack, before), Refused, name);
  assert.throws(() => handOver(next, old, change, before), Refused, "by the wrong root");
  // Entries that hold together, handed over with a consent that is none.
  const place = JSON.parse(handed) as { n: number; prev: string; to: string; consent: string };
  const chained = (consent: string): AppChange => {
    const texts = [replaceRootEntry(place, place.to, consent)];
    for (const text of [first, second]) texts.push(renewEntry({ n: place.n + texts.length, prev: hash(texts.at(-1) ?? "") }, (JSON.parse(text) as { device: string }).device));
    return { ...change, entries: texts };
  };
  assert.equal(handOver(old, next, chained(place.consent), before).entries.length, 3, "the control");
  const log = readDeviceLog(before);
  const stranger = new SoftKey(vectorRandom()(32));
  const right = rootConsent(log.subject, log.issuer, place.to);
  for (const consent of [sign("baton-root-consent+jwt", stranger, right), sign("baton-root-consent+jwt", old.issuer("player"), right), `${place.consent.slice(0, -2)}AA`]) {
    assert.throws(() => handOver(old, next, chained(consent), before), Refused);
  }
  assert.throws(() => handOver(old, next, change, before.slice(0, 2)), Refused, "for another state of the log");
});
