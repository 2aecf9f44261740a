/** Envelopes, updates and chains: what Rust sealed opens here, and nothing opens that is not the profile's. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused } from "../src/index.js";
import { decode, encode, utf8, type Bytes } from "../src/base64url.js";
import { PublicKey, SoftKey, hash } from "../src/key.js";
import { signBy } from "../src/jws.js";
import type { Signer } from "../src/deviceKeys.js";
import { verifyPresentation } from "../src/credential.js";
import { Chain, readStatement, signStatement, type Signed } from "../src/session/chain.js";
import { openEnvelope, sealEnvelope } from "../src/session/envelope.js";
import { keyStatement, readKey, receiptProof } from "../src/session/key.js";
import { fit, readNeeds } from "../src/session/needs.js";
import { openUpdate, sealUpdate, updateHash, type SealedUpdate } from "../src/session/update.js";
import { openView, sealView, type SealedView } from "../src/session/view.js";
import { fixture, golden, vectorRandom } from "./files.js";

const refusal = (code: string) => (error: unknown) => error instanceof Refused && error.code === code;
const anyone = (): boolean => true;

interface Recorded {
  tv: { did: string; agreement_d: string };
  key_statement: string;
  envelope: string;
  open: string;
  update: SealedUpdate;
  content: string;
  needs: object;
  release: string;
  release_hash: string;
  receipt: string;
  reclaim: string;
  view: SealedView;
}

const recorded = fixture<Recorded>("handoff-v1.json");

/** An agreement key from its scalar, as WebCrypto holds it. */
function agreementKey(d: string): Promise<CryptoKey> {
  const { x, y } = new SoftKey(decode(d)).public.jwk;
  const jwk = { kty: "EC", crv: "P-256", d, x, y };
  return crypto.subtle.importKey("jwk", jwk, { name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
}

const soft = (key: SoftKey): Signer => ({ public: key.public, sign: (input) => Promise.resolve(key.sign(input)) });

test("a handoff that Rust recorded is read here, step by step", async () => {
  const { tv, envelope, open, update, release, receipt, reclaim } = recorded;
  const jws = await openEnvelope(envelope, tv.did, await agreementKey(tv.agreement_d));
  assert.equal(jws, recorded.key_statement);
  const first = readStatement(open);
  const { session } = first.statement;
  const key = readKey(jws ?? "", session, 1, anyone);
  const { by, content, needs } = await openUpdate(update, key, anyone);
  assert.deepEqual(needs, recorded.needs);
  assert.equal(new TextDecoder().decode(content), recorded.content);

  assert.equal(new TextDecoder().decode(await openView(recorded.view, session, by, key)), "00:43");
  for (const [where, whose, under] of [["ses_other", by, key], [session, tv.did, key], [session, by, { ...key, version: 2 }]] as const) {
    await assert.rejects(openView(recorded.view, where, whose, under), refusal("state.undecryptable"));
  }

  const chain = Chain.open(first);
  assert.equal(by, chain.holder);
  chain.apply(readStatement(release));
  assert.deepEqual([chain.last, chain.released?.to], [recorded.release_hash, tv.did]);
  const taken = readStatement(receipt);
  assert.ok(taken.statement.act.kind === "receipt");
  assert.equal(taken.statement.act.proof, receiptProof(key, chain.last, content));
  chain.apply(taken);
  assert.deepEqual([chain.epoch, chain.holder], [2, tv.did]);
  assert.throws(() => chain.apply(readStatement(reclaim)), refusal("handoff.forked"), "the other successor of the release");

  // A claim that names the other history ends it, if who says so may; and no history is ended that is this one.
  const other = readStatement(reclaim).hash;
  const claim = (also?: string): Signed => {
    const act = { kind: "claim" as const, from: { epoch: 2, seq: 1, hash: "h" }, ...(also === undefined ? {} : { also }), key_version: 2, envelope: "e" };
    return { text: "", hash: `claim ${also}`, statement: { session, epoch: 3, prev: chain.last, device: tv.did, act } };
  };
  const completed = (): Chain => {
    const next = Chain.open(first);
    for (const text of [release, receipt]) next.apply(readStatement(text));
    return next;
  };
  for (const [also, ended] of [[undefined, false], ["another", false], [other, true]] as const) {
    const next = completed();
    next.apply(claim(also));
    assert.equal(next.hasEnded(other, (by) => by === tv.did), ended);
    assert.deepEqual([next.hasEnded(other, (by) => by !== tv.did), next.continues(other), next.continues(chain.last)], [false, false, true]);
  }
  for (const own of [chain.last, chain.first, 7 as unknown as string]) assert.throws(() => completed().apply(claim(own)), refusal("handoff.statement"));
});

test("what is sealed here Rust opens: fixtures/typescript-handoff-v1.json", async () => {
  const random = vectorRandom();
  const [source, target] = [new SoftKey(random(32)), new SoftKey(random(32))];
  const [session, handoff] = ["ses_01a0c4506c0073038303030303030303", "hof_01a0c4506c0074048404040404040404"];
  const key = { version: 1, bytes: random(32) };
  const statement = await keyStatement(key, session, { n: 2, hash: hash("head") }, soft(source));
  const open = await signStatement(
    { session, epoch: 1, prev: undefined, device: source.public.did, act: { kind: "open", app: "player", subject: hash("open"), mode: "exclusive", envelope: hash("an envelope") } },
    soft(source),
  );
  const place = { session, epoch: 1, seq: 1, prev: open.hash, key_version: 1, kind: "snapshot" as const };
  const content = utf8("The General, 00:43");
  const needs = { needs: [["codec:av1", "codec:h264"]], adapts: ["screen:large"] };
  const update = await sealUpdate(place, { content, needs }, soft(source), key, random(12));
  const head = { epoch: 1, seq: 1, hash: updateHash(update) };
  const release = await signStatement(
    { session, epoch: 1, prev: open.hash, device: source.public.did, act: { kind: "release", handoff, head, key_version: 1, to: target.public.did } },
    soft(source),
  );
  const proof = receiptProof(key, release.hash, content);
  const receipt = await signStatement({ session, epoch: 2, prev: release.hash, device: target.public.did, act: { kind: "receipt", handoff, proof } }, soft(target));
  const offer = { v: 1, handoff, session, epoch: 1, from: source.public.did, to: { device: target.public.did }, challenge: encode(random(16)) };
  const view = await sealView(session, source.public.did, key, random(12), utf8("00:43"));
  golden("typescript-handoff-v1.json", {
    key: encode(key.bytes),
    key_statement: statement,
    open: open.text,
    update,
    needs,
    update_hash: head.hash,
    content: "The General, 00:43",
    release: release.text,
    receipt: receipt.text,
    view,
    offer: await signBy("baton-offer+jwt", soft(source), offer),
  });
});

test("ECC: an envelope opens for its recipient alone, in the profile's form alone", async () => {
  const [mine, other] = [await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]), new SoftKey(vectorRandom()(32))];
  const agreement = PublicKey.fromPoint(new Uint8Array(await crypto.subtle.exportKey("raw", mine.publicKey)));
  const [me, them] = ["did:key:zMe", other.public.did];
  const sealed = await sealEnvelope("a statement", [{ device: me, agreement }]);
  assert.equal(await openEnvelope(sealed, me, mine.privateKey), "a statement");
  assert.equal(await openEnvelope(sealed, them, mine.privateKey), undefined, "sealed to others");

  const jwe = JSON.parse(sealed) as { protected: string; recipients: { header: Record<string, unknown>; encrypted_key: string }[]; iv: string; ciphertext: string; tag: string };
  const [recipient] = jwe.recipients;
  assert.ok(recipient);
  const header = (members: object): string => encode(JSON.stringify(members));
  const flipped = (text: string): string => {
    const bytes = decode(text);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return encode(bytes);
  };
  const right = { alg: "ECDH-ES+A256KW", enc: "A256GCM", typ: "baton-key+jwe" };
  const wrong: [string, object][] = [
    ["state.alg", { ...jwe, protected: header({ ...right, alg: "dir" }) }],
    ["state.alg", { ...jwe, protected: header({ ...right, alg: "PBES2-HS256+A128KW", p2c: 1e9 }) }],
    ["state.alg", { ...jwe, protected: header({ ...right, enc: "A128CBC-HS256" }) }],
    ["state.alg", { ...jwe, protected: header({ ...right, zip: "DEF" }) }],
    ["state.undecryptable", { ...jwe, tag: encode(decode(jwe.tag).subarray(0, 12)) }],
    ["state.undecryptable", { ...jwe, tag: flipped(jwe.tag) }],
    ["state.undecryptable", { ...jwe, ciphertext: flipped(jwe.ciphertext) }],
    ["state.undecryptable", { ...jwe, iv: flipped(jwe.iv) }],
    ["state.undecryptable", { ...jwe, unprotected: {} }],
    ["state.undecryptable", { ...jwe, recipients: [{ ...recipient, header: { ...recipient.header, apu: "AA" } }] }],
    ["state.undecryptable", { ...jwe, recipients: [{ ...recipient, header: { ...recipient.header, epk: { kty: "EC", crv: "P-256", x: encode(new Uint8Array(32)), y: encode(new Uint8Array(32)) } } }] }],
    ["state.recipient", { ...jwe, recipients: [recipient, recipient] }],
  ];
  for (const [code, changed] of wrong) {
    await assert.rejects(openEnvelope(JSON.stringify(changed), me, mine.privateKey), refusal(code), JSON.stringify(changed).slice(0, 200));
  }
});

const nothing = { needs: [], adapts: [] };

test("an update opens in its place alone, by its sender alone", async () => {
  const random = vectorRandom();
  const [sender, stranger] = [new SoftKey(random(32)), new SoftKey(random(32))];
  const key = { version: 1, bytes: random(32) };
  const place = { session: "ses_1", epoch: 1, seq: 7, prev: "before", key_version: 1, kind: "update" as const };
  const content = utf8("minute 43");
  const update = await sealUpdate(place, { content, needs: nothing }, soft(sender), key, random(12));
  assert.equal((await openUpdate(update, key, (by) => by === sender.public.did)).by, sender.public.did);
  assert.equal(decode(update.ct).length, 1024 + 16, "the size says little");

  await assert.rejects(openUpdate(update, key, (by) => by === stranger.public.did), refusal("state.sender"));
  const moved: Partial<SealedUpdate>[] = [{ session: "ses_2" }, { epoch: 2 }, { seq: 8 }, { prev: "another" }, { kind: "snapshot" }, { iv: encode(random(12)) }];
  for (const change of moved) await assert.rejects(openUpdate({ ...update, ...change }, key, anyone), refusal("state.undecryptable"), Object.keys(change)[0]);
  const other: Bytes = random(32);
  await assert.rejects(openUpdate(update, { version: 1, bytes: other }, anyone), refusal("state.undecryptable"));
  await assert.rejects(sealUpdate(place, { content: new Uint8Array(200 * 1024), needs: nothing }, soft(sender), key, random(12)), refusal("state.undecryptable"));
});

test("a chain takes nothing in that may not follow", async () => {
  const random = vectorRandom();
  const [holder, target] = [soft(new SoftKey(random(32))), soft(new SoftKey(random(32)))];
  const at = (signer: Signer, epoch: number, prev: string | undefined, act: Parameters<typeof signStatement>[0]["act"]) =>
    signStatement({ session: "ses_1", epoch, prev, device: signer.public.did, act }, signer);
  const open = await at(holder, 1, undefined, { kind: "open", app: "player", subject: "log", mode: "exclusive", envelope: "e" });
  const head = { epoch: 1, seq: 1, hash: "h" };
  const release = { kind: "release", handoff: "hof_1", head, key_version: 1, to: target.public.did } as const;
  const begun = (): Chain => Chain.open(readStatement(open.text));

  const refused = [
    await at(target, 1, open.hash, release),
    await at(holder, 2, open.hash, release),
    await at(holder, 1, "another", release),
    await at(holder, 2, open.hash, { kind: "receipt", handoff: "hof_1", proof: "p" }),
    await at(holder, 2, open.hash, { kind: "claim", from: head, key_version: 1, envelope: "e" }),
    await at(target, 1, open.hash, { kind: "rekey", key_version: 2, envelope: "e" }),
    await at(holder, 1, open.hash, { ...release, key_version: 2 }),
  ];
  for (const one of refused) assert.throws(() => begun().apply(readStatement(one.text)), refusal("handoff.statement"), one.statement.act.kind);

  const released = await at(holder, 1, open.hash, release);
  const receipt = (by: Signer, handoff = "hof_1") => at(by, 2, released.hash, { kind: "receipt", handoff, proof: "p" });
  for (const one of [await receipt(holder), await receipt(target, "hof_2")]) {
    const chain = begun();
    chain.apply(readStatement(released.text));
    assert.throws(() => chain.apply(readStatement(one.text)), refusal("handoff.statement"));
  }
  const chain = begun();
  chain.apply(readStatement(released.text));
  chain.apply(readStatement((await receipt(target)).text));
  assert.deepEqual([chain.epoch, chain.holder], [2, target.public.did]);

  // A member more than this version knows: its hash is another.
  const more = await signBy("baton-statement+jwt", holder, { v: 1, session: "ses_1", epoch: 1, prev: open.hash, device: holder.public.did, ...release, also: "x" });
  assert.throws(() => readStatement(more), refusal("handoff.statement"));
});

test("a presentation is for one occasion", () => {
  const shown = fixture<{ now: number; presentation: string; transaction_data: string; audience: string; offer: string }>("presentation-v1.json");
  const nonce = (JSON.parse(new TextDecoder().decode(decode(shown.offer.split(".")[1] ?? ""))) as { challenge: string }).challenge;
  const occasion = { audience: shown.audience, nonce, data: [shown.transaction_data] };
  assert.equal(verifyPresentation(shown.presentation, occasion, shown.now).tier, "limited");
  const others = [
    { ...occasion, audience: "https://evil.example" },
    { ...occasion, nonce: "another" },
    { ...occasion, data: [] },
    { ...occasion, data: [shown.transaction_data, shown.transaction_data] },
  ];
  for (const other of others) assert.throws(() => verifyPresentation(shown.presentation, other, shown.now), refusal("kb.invalid"));
  assert.throws(() => verifyPresentation(shown.presentation, occasion, shown.now + 61), refusal("kb.invalid"), "too old");
  const [jwt = ""] = shown.presentation.split("~");
  const kb = shown.presentation.slice(shown.presentation.lastIndexOf("~") + 1);
  assert.throws(() => verifyPresentation(`${jwt}~${kb}`, occasion, shown.now), refusal("kb.invalid"), "with less shown than was signed for");
});

test("what a session needs is matched with what a device says of itself", async () => {
  const needs = { needs: [["codec:av1", "codec:h264"], ["screen"]], adapts: ["keyboard", "hdr"] };
  assert.deepEqual(fit(needs, ["codec:h264", "screen", "hdr"]), { lacks: [], adapt: ["keyboard"] });
  assert.deepEqual(fit(needs, ["screen"]).lacks, [["codec:av1", "codec:h264"]]);
  assert.deepEqual(readNeeds(undefined), nothing);
  assert.deepEqual(readNeeds(needs), needs);
  for (const wrong of [{ needs: [[]], adapts: [] }, { needs: [], adapts: ["a b"] }, { needs: [["é"]], adapts: [] }, { needs: [["x".repeat(65)]], adapts: [] }, { needs: [], adapts: Array(17).fill("x") }, { needs: [] }]) {
    assert.throws(() => readNeeds(wrong), refusal("input.invalid"), JSON.stringify(wrong));
  }
});
