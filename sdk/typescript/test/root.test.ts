/** The root and its copies: what the Rust side wrote opens here, and nothing that a server swapped. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "../src/base64url.js";
import { RecoveryCode, Refused, Root, type Jwk, type WrappedRoot } from "../src/index.js";
import { fixture } from "./files.js";

interface Wraps {
  seed: string;
  account_jwk: Jwk;
  fingerprint: string;
  issuer: { app: string; did: string };
  prf: string;
  wrapped_for_passkey: WrappedRoot;
  recovery_code: string;
  recovery_id: string;
  wrapped_for_recovery: WrappedRoot;
}

const stands = fixture<Wraps>("wrap-v1.json");
const prf = decode(stands.prf);
const opener = { id: "Y3JlZA", rp: "localhost" };
const refusal = (code: string) => (error: unknown) => error instanceof Refused && error.code === code;

test("keys come from the seed as they do in Rust", () => {
  const root = Root.fromSeed(decode(stands.seed));
  const { x, y } = root.account.public.jwk;
  assert.deepEqual([x, y], [stands.account_jwk.x, stands.account_jwk.y]);
  assert.equal(root.fingerprint, stands.fingerprint);
  assert.equal(root.issuer(stands.issuer.app).public.did, stands.issuer.did);
  assert.notEqual(root.issuer("another app").public.did, stands.issuer.did);
});

test("copies that Rust wrapped open here", async () => {
  const byPasskey = await Root.unwrap(stands.wrapped_for_passkey, prf, opener.id, opener.rp, stands.fingerprint);
  const byCode = await Root.recover(stands.wrapped_for_recovery, RecoveryCode.parse(stands.recovery_code));
  assert.deepEqual([byPasskey.fingerprint, byCode.fingerprint], [stands.fingerprint, stands.fingerprint]);
});

test("WRP-03: a copy that the server swapped opens nothing", async () => {
  const mine = Root.generate();
  const good = await mine.wrapForPasskey(prf, opener.id, opener.rp);
  const open = (wrapped: WrappedRoot, id = opener.id, rp = opener.rp) => Root.unwrap(wrapped, prf, id, rp, mine.fingerprint);
  assert.equal((await open(good)).fingerprint, mine.fingerprint, "the control");

  await assert.rejects(open(stands.wrapped_for_passkey), refusal("wrap.invalid"), "another account's, under the same passkey");
  await assert.rejects(open(good, "b3RoZXI"), refusal("wrap.invalid"), "another credential's");
  await assert.rejects(open(good, opener.id, "evil.example"), refusal("wrap.invalid"), "another relying party's");
  const attackers = Root.generate();
  const made = { ...(await attackers.wrapForPasskey(prf, opener.id, opener.rp)), root: mine.fingerprint };
  await assert.rejects(open(made), refusal("wrap.invalid"), "attacker-made, under a name that is not its own");
  await assert.rejects(open(await mine.wrapForRecovery(RecoveryCode.generate())), refusal("wrap.invalid"), "another opener's");
  await assert.rejects(open({ ...good, v: 2 as 1 }), refusal("wrap.invalid"), "another version");
  await assert.rejects(open({ ...good, ct: encode(decode(good.ct).map((byte) => byte ^ 1)) }), refusal("wrap.invalid"), "a changed one");
});

test("WRP-04: a PRF output that is none seals and opens nothing", async () => {
  const root = Root.generate();
  for (const useless of [new Uint8Array(32), new Uint8Array(31).fill(1), new Uint8Array(0)]) {
    await assert.rejects(root.wrapForPasskey(useless, opener.id, opener.rp), refusal("wrap.prf"));
    await assert.rejects(Root.unwrap(stands.wrapped_for_passkey, useless, opener.id, opener.rp, stands.fingerprint), refusal("wrap.prf"));
  }
});

test("a recovery code survives pen and paper", () => {
  const code = RecoveryCode.parse(stands.recovery_code);
  assert.deepEqual([code.words(), code.id()], [stands.recovery_code, stands.recovery_id]);
  const typed = stands.recovery_code.toLowerCase().replaceAll("-", " ").replaceAll("0", "o").replaceAll("1", "l");
  assert.equal(RecoveryCode.parse(typed).id(), stands.recovery_id);
  const other = stands.recovery_code[1] === "7" ? "8" : "7";
  for (const wrong of [stands.recovery_code[0] + other + stands.recovery_code.slice(2), "", "Z".repeat(27), "5"]) {
    assert.throws(() => RecoveryCode.parse(wrong), refusal("wrap.invalid"));
  }
  assert.ok(!JSON.stringify({ code, root: Root.generate() }).includes(stands.recovery_code.slice(0, 4)), "printing shows nothing");
});

test("a forgotten root signs nothing", () => {
  const root = Root.generate();
  root.proof("https://baton.example/identity", "cer_1");
  root.forget();
  assert.throws(() => root.proof("https://baton.example/identity", "cer_1"));
});
