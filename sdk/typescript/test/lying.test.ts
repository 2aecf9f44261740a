/** A broker that lies, one device it has turned, tabs that race: what the honest device does all the same. Each lie stands beside the truth that passes. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Http, MemoryStore, Offered, Session, Waiting, Device, type Store, type Surroundings } from "../src/index.js";
import { utf8 } from "../src/base64url.js";
import { agreed } from "../src/credential.js";
import { PublicKey, hash } from "../src/key.js";
import { sealEnvelope } from "../src/session/envelope.js";
import { keyStatement } from "../src/session/key.js";
import { sealUpdate, updateHash, type SealedUpdate } from "../src/session/update.js";
import { around, full, limited, restarted, handOver, refusal, text } from "./people.js";
import { Server } from "./server.js";


let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

type Answer = Record<string, unknown>;
/** Changes what the broker answers on a path. */
type Lie = { on: RegExp; tell: (truth: Answer) => Answer; insteadOfRefusals?: true };

/** The same device behind somebody who changes answers, while there is something to change, and notes what is asked. */
async function lied(device: Device): Promise<{ device: Device; lies: Lie[]; asked: string[] }> {
  const [lies, asked]: [Lie[], string[]] = [[], []];
  const between: Surroundings = {
    ...around,
    async fetch(input, init) {
      const url = String(input);
      asked.push(`${init?.method ?? "GET"} ${new URL(url).pathname.replace("/broker/v1/", "")}`);
      const answer = await around.fetch(input, init);
      const lie = lies.find(({ on }) => on.test(url));
      if (!lie || !(answer.ok || lie.insteadOfRefusals)) return answer;
      return new Response(JSON.stringify(lie.tell((await answer.json()) as Answer)), { status: 200, headers: answer.headers });
    },
  };
  return { device: await restarted(device, new Http(between)), lies, asked };
}

test("an offer to any full device is sealed to no limited one, whatever the broker shows", async () => {
  const { device: laptop, lies } = await lied(await full(server, "Laptop"));
  const tv = await limited(server, "Television");
  const session = await Session.open(laptop, utf8("minute 1"));
  const offered = await Offered.make(session, "any_full");
  const { offer: jws } = await laptop.broker<{ offer: string }>({ scope: "session:read", path: `/v1/handoffs/${offered.id}` });
  const { handoff, session: id, epoch, from, challenge } = JSON.parse(Buffer.from(jws.split(".")[1] ?? "", "base64url").toString()) as Record<string, string>;
  const payload = Buffer.from(jws.split(".")[1] ?? "", "base64url");
  const data = agreed("baton.handoff", { handoff, session: id, epoch, from, to: tv.did, jkt: PublicKey.fromDid(tv.did).thumbprint, offer_hash: hash(payload) });
  const presentation = await tv.present({ audience: laptop.kept.servers.broker, nonce: challenge ?? "", data: [data] });
  lies.push({ on: /handoffs\/hof_[0-9a-f]+$/, tell: (truth) => ({ ...truth, state: "accepted", by: tv.did, presentation }) });
  await assert.rejects(offered.seal(), refusal("log.not_member"));
  assert.ok(session.isHeld, "nothing was released");
});

test("what a source signed for is all there, or nothing is taken", async () => {
  const laptop = await full(server, "Laptop");
  const { device: phone, lies } = await lied(await full(server, "Phone"));
  const session = await Session.open(laptop, utf8("1"));
  for (const content of ["2", "3", "4"]) await session.write(utf8(content));
  const offered = await Offered.make(session, { device: phone.did });
  const [waiting] = (await Waiting.list(phone)).filter((one) => one.id === offered.id);
  await waiting?.accept();
  await offered.seal();
  const cut = (keep: number) => (truth: Answer) => ({ updates: (truth["updates"] as SealedUpdate[]).filter(({ seq }) => seq <= keep) });
  for (const keep of [0, 1, 4]) {
    lies.splice(0, 1, { on: /updates\?/, tell: cut(keep) });
    await assert.rejects(waiting?.complete() ?? Promise.resolve(), refusal("state.rollback"), `${keep} updates`);
  }
  lies.length = 0;
  const taken = await waiting?.complete();
  assert.ok(taken);
  assert.equal(text(taken), "4");
});

/** Of a session of which this shows the first statement alone, and the content that it began with. */
const BEGINNING: Lie[] = [
  { on: /statements\?from=0$/, tell: (truth) => ({ statements: (truth["statements"] as object[]).slice(0, 1) }) },
  { on: /statements\?from=1$/, tell: () => ({ statements: [] }) },
  { on: /updates\?/, tell: (truth) => ({ updates: (truth["updates"] as SealedUpdate[]).filter(({ seq }) => seq === 1) }) },
  { on: /envelopes$/, tell: (truth) => ({ envelopes: (truth["envelopes"] as { key_version: number }[]).filter(({ key_version }) => key_version === 1) }) },
  { on: /sessions\/ses_[0-9a-f]+$/, tell: (truth) => ({ ...truth, last_snapshot: 1 }) },
];

test("who sees two histories of a session writes into neither, and has what it had", async () => {
  const { device: laptop, lies } = await lied(await full(server, "Laptop"));
  const phone = await full(server, "Phone");
  const session = await Session.open(laptop, utf8("1"));
  await session.rekey();
  await session.write(utf8("2"));
  lies.push(...BEGINNING);
  await assert.rejects(session.follow(), refusal("handoff.forked"));
  assert.deepEqual([text(session), session.isForked, session.isHeld], ["2", true, false]);
  const all = [session.write(utf8("3")), session.volatile(utf8("3")), Offered.make(session, { device: phone.did }), session.rekey(), session.claim(), session.heartbeat(), Session.load(laptop, session.id)];
  for (const one of all) await assert.rejects(one, refusal("handoff.forked"));
  const other = await Session.loadOther(laptop, session.id);
  assert.deepEqual([text(other), other.isForked, other.isHeld], ["1", true, false]);
  await assert.rejects(other.write(utf8("3")), refusal("handoff.forked"));
  // The truth is what it knew.
  lies.length = 0;
  await session.follow();
  assert.ok(session.isHeld && !session.isForked);
  assert.equal((await session.write(utf8("3"))).to, "session");
});

test("a claim whose acceptance is forged ends no fork", async () => {
  const [{ device: laptop, lies }, phone] = [await lied(await full(server, "Laptop")), await full(server, "Phone")];
  const opened = await Session.open(phone, utf8("1"), { mode: "shared" });
  await opened.rekey();
  await opened.write(utf8("2"));
  assert.equal(text(await Session.load(laptop, opened.id)), "2");
  // From here on nobody holds it.
  await server.revoke(phone);
  lies.push(...BEGINNING);
  const other = await Session.loadOther(laptop, opened.id);
  const { statements } = await laptop.broker<{ statements: { accepted: string }[] }>({ scope: "session:read", path: `/v1/sessions/${opened.id}/statements?from=0` });
  lies.push({ on: /claim$/, tell: () => ({ accepted: statements[0]?.accepted }), insteadOfRefusals: true });
  await assert.rejects(other.claim(), refusal("handoff.statement"));
  assert.deepEqual([text(other), other.isForked, other.isHeld], ["1", true, false]);
  for (const one of [other.write(utf8("3")), other.volatile(utf8("3"))]) await assert.rejects(one, refusal("handoff.forked"));
  // The truth is what it knew, and there its claim is accepted.
  lies.length = 0;
  const session = await Session.load(laptop, opened.id);
  await session.claim();
  assert.equal((await session.write(utf8("3"))).to, "session");
});

test("ECC-14: what was seen before is not taken back", async () => {
  const { device: laptop, lies } = await lied(await full(server, "Laptop"));
  const session = await Session.open(laptop, utf8("1"));
  for (const content of ["2", "3"]) await session.write(utf8(content));
  const cut = (keep: number): Lie => ({ on: /updates\?/, tell: (truth) => ({ updates: (truth["updates"] as SealedUpdate[]).filter(({ seq }) => seq <= keep) }) });
  for (const keep of [1, 2]) {
    lies.splice(0, 1, cut(keep));
    await assert.rejects(session.follow(), refusal("state.rollback"), `${keep} updates`);
    await assert.rejects(Session.load(laptop, session.id), refusal("state.rollback"), `${keep} updates`);
  }
  lies.splice(0, 1, cut(3));
  await session.follow();
  assert.equal(text(session), "3");
});

test("who has released writes no more into the session, whoever would take it", async () => {
  const [{ device: laptop, asked }, phone] = [await lied(await full(server, "Laptop")), await full(server, "Phone")];
  const session = await Session.open(laptop, utf8("1"));
  await handOver(session, phone);
  asked.length = 0;
  assert.deepEqual(await session.write(utf8("late")), { to: "branch", epoch: 2 });
  assert.ok(asked.every((one) => !one.endsWith("/updates")), asked.join(", "));
  const following = await Session.load(laptop, session.id);
  await assert.rejects(following.write(utf8("mine?")), refusal("handoff.not_holder"));
});

test("a key counts when the chain names its envelope, or a live full device added it; never a second one", async () => {
  const { device: laptop, lies } = await lied(await full(server, "Laptop"));
  const tv = await limited(server, "Television");
  const session = await Session.open(laptop, utf8("1"));
  const members = await tv.members();
  const mine = members.members.filter(({ device }) => device === laptop.did);
  const forged = async (by: Device, version: number): Promise<string> => {
    const statement = await keyStatement({ version, bytes: new Uint8Array(32).fill(7) }, session.id, members.head, by.signer);
    return sealEnvelope(statement, mine);
  };
  const add = (envelope: string) => (truth: Answer) => ({ envelopes: [...(truth["envelopes"] as object[]), { key_version: 1, envelope }] });
  const right = session.key.bytes;
  for (const by of [tv, laptop]) {
    lies.splice(0, 1, { on: /envelopes$/, tell: add(await forged(by, 1)) });
    for (const read of [await Session.load(laptop, session.id), (await session.follow(), session)]) assert.deepEqual(read.key.bytes, right, "passed over");
  }
  lies.splice(0, 1, { on: /envelopes$/, tell: () => ({ envelopes: [] }) });
  await assert.rejects(session.follow(), refusal("state.rollback"), "one is left out");
  lies.length = 0;
  await session.follow();
  assert.equal((await session.write(utf8("2"))).to, "session");
});

test("an update counts by whom the chain says holds the session, and up to where its epoch ended", async () => {
  const tv = await limited(server, "Television");
  const { device: laptop, lies } = await lied(await full(server, "Laptop"));
  const watching = await handOver(await Session.open(laptop, utf8("1")), tv);
  await watching.write(utf8("2"));
  const key = watching.key;
  const session = await handOver(watching, laptop);
  const { head } = session;
  // The television kept the key it had: it seals one more, at its own epoch and at the next.
  for (const [epoch, code] of [[2, "state.rollback"], [3, "state.sender"]] as const) {
    const place = { session: session.id, epoch, seq: head.seq + 1, prev: head.hash, key_version: key.version, kind: "update" as const };
    const update = await sealUpdate(place, { content: utf8("forged"), needs: { needs: [], adapts: [] } }, tv.signer, key, new Uint8Array(12));
    assert.notEqual(updateHash(update), head.hash);
    lies.splice(0, 1, { on: new RegExp(`updates\\?after=${head.seq}$`), tell: () => ({ updates: [update] }) });
    await assert.rejects(Session.load(laptop, session.id), refusal(code), `at epoch ${epoch}`);
  }
  lies.length = 0;
  assert.equal(text(await Session.load(laptop, session.id)), "2");
});

test("after a revocation the key is changed before anything is written, without being told to", async () => {
  const { device: laptop, asked } = await lied(await full(server, "Laptop"));
  const phone = await full(server, "Phone");
  const session = await Session.open(laptop, utf8("1"));
  await server.revoke(phone);
  await laptop.members();
  asked.length = 0;
  await session.write(utf8("2"));
  const steps = asked.filter((one) => one.startsWith("POST sessions/")).map((one) => one.split("/").at(-1));
  assert.deepEqual(steps.filter((step, at) => step !== steps[at - 1]), ["rekey", "updates"]);
  assert.ok(!session.recipients.has(phone.did));
});

test("a new key whose answer was lost is the key all the same", async () => {
  const laptop = await full(server, "Laptop");
  const phone = await full(server, "Phone");
  let lost = 0;
  const losing: Surroundings = {
    ...around,
    async fetch(input, init) {
      const answer = await around.fetch(input, init);
      // Every answer to the first rekeying, tries included; asked again later, it comes.
      if (!String(input).endsWith("/rekey") || lost >= 4) return answer;
      lost++;
      throw new Error("lost");
    },
  };
  const session = await Session.open(await restarted(laptop, new Http(losing)), utf8("1"));
  await server.revoke(phone);
  await session.device.members();
  await assert.rejects(session.write(utf8("2")), refusal("transport"));
  assert.equal((await session.write(utf8("3"))).to, "session");
  assert.deepEqual([session.chain.keyVersion, lost], [2, 4]);
  assert.equal(text(await Session.load(laptop, session.id)), "3");
});

test("who joins later gets the key at the holder's next write, and is handed sessions before that", async () => {
  const laptop = await full(server, "Laptop");
  const [reads, handed] = [await Session.open(laptop, utf8("1")), await Session.open(laptop, utf8("one"))];
  const phone = await full(server, "Phone");
  await laptop.members();
  await assert.rejects(Session.load(phone, reads.id), refusal("handoff.no_key"));
  await reads.write(utf8("2"));
  assert.equal(text(await Session.load(phone, reads.id)), "2");
  assert.equal(text(await handOver(handed, phone)), "one");
});

test("who was let in keeps the key when who let it in is revoked", async () => {
  const laptop = await full(server, "Laptop");
  const session = await Session.open(laptop, utf8("1"));
  const phone = await full(server, "Phone");
  await laptop.members();
  await session.write(utf8("2"));
  assert.equal(text(await Session.load(phone, session.id)), "2");
  await server.revoke(laptop);
  const orphan = await Session.load(phone, session.id);
  await orphan.claim();
  assert.equal(text(orphan), "2");
});

test("a session whose first content never arrived goes on from its beginning", async () => {
  const laptop = await full(server, "Laptop");
  const cutting: Surroundings = { ...around, fetch: (input, init) => (/updates$/.test(String(input)) ? Promise.reject(new Error("cut")) : around.fetch(input, init)) };
  await assert.rejects(Session.open(await restarted(laptop, new Http(cutting)), utf8("lost")), refusal("transport"));
  const [empty] = (await Session.list(laptop)).slice(-1);
  const session = await Session.load(laptop, empty?.session ?? "");
  assert.deepEqual([session.content.length, session.head.seq, session.isHeld], [0, 0, true]);
  assert.equal((await session.write(utf8("found"))).to, "session");
});

test("two tabs that hold one session: the slower one is told, and overwrites nothing", async () => {
  const store: Store = new MemoryStore();
  await full(server, "Tabs", store);
  const [one, two] = [await Device.load(store, new Http(around)), await Device.load(store, new Http(around))];
  assert.ok(one && two);
  const session = await Session.open(one, utf8("A"));
  const same = await Session.load(two, session.id);
  await session.write(utf8("A, B"));
  await assert.rejects(same.write(utf8("A, C")), refusal("state.conflict"));
  assert.equal(text(same), "A, B", "what it has to merge with");
  assert.equal((await same.write(utf8("A, B, C"))).to, "session");
});
