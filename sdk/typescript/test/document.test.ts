/** Sessions that hold documents: what two devices wrote is all there in the end, whoever was first, and whoever was away. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Device, Http, Session, enrolHere, redeemHere, type Surroundings } from "../src/index.js";
import { Document, Replica, type Changes } from "../src/document/index.js";
import { FileStore } from "../src/node.js";
import { State } from "../src/document/state.js";
import { utf8 } from "../src/base64url.js";
import { CALLBACK, around, asking, full, handOver, refusal, restarted } from "./people.js";
import { Server } from "./server.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

const notes = ({ doc }: Pick<Document, "doc">): string => doc.getText("notes").toJSON();
const notesIn = (content: Uint8Array): string => {
  const state = new State(new Uint8Array(4).fill(1));
  state.merge(content, Infinity);
  return notes(state);
};
const reopened = async ({ session: { id } }: Document, device: Device): Promise<Document> => (await Document.of(await Session.load(device, id))).document;

test("who writes too late is merged", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop);
  here.doc.getText("notes").insert(0, "bread");
  here.set("position", 43);
  assert.equal((await here.save())?.to, "session");
  assert.equal(await here.save(), undefined, "it is there");
  const stale = await reopened(here, laptop);

  const { document: there } = await Document.of(await handOver(here.session, phone));
  assert.deepEqual([notes(there), there.get("position")], ["bread", 43]);
  there.doc.getText("notes").insert(5, ", milk");
  there.set("position", 60);
  await there.save();

  stale.doc.getText("notes").insert(0, "butter, ");
  stale.set("position", 50);
  assert.deepEqual(await stale.save(), { to: "branch", epoch: 2 });

  const changes = await there.follow();
  const outdone = [{ name: "position", by: laptop.did, value: 50 }];
  assert.deepEqual(changes, { changed: true, by: [], setAside: false, outdone: [], late: [{ device: laptop.did, epoch: 1, outcome: { is: "merged", outdone } }] });
  assert.deepEqual([notes(there), there.get("position")], ["butter, bread, milk", 60]);
  assert.equal((await there.save())?.to, "session");

  // The same on the laptop, which does not hold it.
  await stale.follow();
  assert.deepEqual([notes(stale), stale.get("position")], ["butter, bread, milk", 60]);
  assert.equal((await stale.follow()).changed, false);
});

test("what was kept through a start goes beside the session, as of when this device held it", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop);
  const { id } = here.session;
  here.doc.getText("notes").insert(0, "bread");
  await here.save();
  const replica = (await Replica.load(laptop, id)) ?? assert.fail();
  replica.doc.getText("notes").insert(0, "butter, ");
  await replica.keep();
  const { document: there } = await Document.of(await handOver(here.session, phone));

  const late = await reopened(here, laptop);
  assert.equal(notes(late), "butter, bread");
  assert.deepEqual([await late.save(), await late.save()], [{ to: "branch", epoch: 2 }, undefined]);
  assert.deepEqual((await there.follow()).late, [{ device: laptop.did, epoch: 1, outcome: { is: "merged", outdone: [] } }]);
  assert.equal(notes(there), "butter, bread");
  await late.follow();
  assert.equal(await late.save(), undefined, "still beside");
});

test("what is read while something is written is in it", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop, { mode: "shared" });
  const there = await reopened(here, phone);
  there.doc.getText("notes").insert(0, "milk ");
  await there.save();
  // Reading begins first, and ends before what is written is sent.
  here.doc.getText("notes").insert(0, "bread ");
  const reading = here.follow();
  await Promise.all([reading, here.save(), here.session.follow(), here.save()]);
  const all = notes(await reopened(here, phone));
  assert.ok(all.includes("milk ") && all.includes("bread "), all);
  // Also where the session is read on behind the document's back.
  there.doc.getText("notes").insert(0, "butter ");
  await there.follow();
  await there.save();
  here.doc.getText("notes").insert(0, "eggs ");
  await here.session.follow();
  await here.save();
  const more = notes(await reopened(here, phone));
  assert.ok(more.includes("butter ") && more.includes("eggs "), more);
});

test("what is written while a reading waits for a network is kept at once", async () => {
  let release = (): void => undefined;
  const holds = new Promise<void>((resolve) => (release = resolve));
  let waits = false;
  const fetch: typeof around.fetch = async (input, init) => (waits ? holds.then(() => around.fetch(input, init)) : around.fetch(input, init));
  const laptop = await restarted(await full(server, "Train"), new Http({ ...around, fetch }));
  const here = await Document.open(laptop);
  waits = true;
  const reading = here.follow();
  here.doc.getText("notes").insert(0, "bread");
  const saving = here.save();
  for (let tries = 0; (await Replica.load(laptop, here.session.id))?.doc.getText("notes").toJSON() !== "bread"; tries++) {
    assert.ok(tries < 1000, "it is not kept");
    await new Promise((resolve) => setImmediate(resolve));
  }
  waits = false;
  release();
  await Promise.all([reading, saving]);
  assert.equal(notes(await reopened(here, laptop)), "bread");
});

test("a reading that fails half way is told by the next", async () => {
  let failing = false;
  const fetch: typeof around.fetch = (input, init) => (failing && String(input).includes("/branches") ? Promise.reject(new TypeError("no network")) : around.fetch(input, init));
  const [laptop, phone] = [await restarted(await full(server, "Train"), new Http({ ...around, fetch })), await full(server, "Phone")];
  const here = await Document.open(laptop, { mode: "shared" });
  const there = await reopened(here, phone);
  there.doc.getText("notes").insert(0, "milk");
  await there.save();
  failing = true;
  await assert.rejects(here.follow(), refusal("transport"));
  failing = false;
  const { changed, by } = await here.follow();
  assert.deepEqual([changed, by], [true, [phone.did]]);
  assert.deepEqual((await here.follow()).by, []);
});

test("what was set here and overtaken is told once, also after another start; what had reached the session is not", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop, { mode: "shared" });
  const there = await reopened(here, phone);
  const setThere = async (...positions: number[]): Promise<void> => {
    await there.follow();
    for (const position of positions) there.set("position", position);
    await there.save();
  };
  const overtaken = (value: number): object[] => [{ name: "position", by: laptop.did, value }];
  const again = async (): Promise<object[]> => (await Document.of(await Session.load(laptop, here.session.id))).changes.outdone;

  here.set("position", 43);
  await here.save();
  await setThere(60);
  assert.deepEqual((await here.follow()).outdone, [], "it had reached the session");
  here.set("position", 50);
  await setThere(61, 62);
  assert.deepEqual((await here.follow()).outdone, overtaken(50));
  assert.deepEqual((await here.follow()).outdone, [], "told once");
  assert.equal(here.get("position"), 62);

  here.set("position", 51);
  await here.keep();
  await setThere(63, 64);
  assert.deepEqual(await again(), overtaken(51));
  await here.follow();
  here.set("position", 52);
  await here.save();
  await setThere(65);
  assert.deepEqual(await again(), [], "that one had reached the session");
});

test("what a device wrote that is out, and nobody had seen, is written over by nobody", async () => {
  const [laptop, phone, other] = [await full(server, "Laptop"), await full(server, "Phone"), await full(server, "Other")];
  const here = await Document.open(laptop, { mode: "shared" });
  here.doc.getText("notes").insert(0, "bread");
  await here.save();
  const out = await reopened(here, other);
  out.doc.getText("notes").insert(0, "butter, ");
  await out.save();
  await server.revoke(other);
  const besides = ({ late }: Changes): string[] => late.flatMap(({ outcome }) => (outcome.is === "beside" ? [notesIn(outcome.content)] : []));
  assert.deepEqual(besides(await here.follow()), ["butter, bread"]);
  here.doc.getText("notes").insert(0, "milk, ");
  await here.save();
  // Whoever reads it from here on finds it beside the session, and takes it in if the person says so.
  for (const device of [laptop, phone]) {
    const { document, changes } = await Document.of(await Session.load(device, here.session.id));
    assert.deepEqual([notes(document), besides(changes)], ["milk, bread", ["butter, bread"]]);
  }
  const changes = await here.follow();
  for (const { outcome } of changes.late) if (outcome.is === "beside") here.merge(outcome.content);
  await here.save();
  // Once it is in, nobody is asked any more.
  for (const device of [laptop, phone]) {
    const { document, changes } = await Document.of(await Session.load(device, here.session.id));
    assert.match(notes(document), /butter, /);
    assert.deepEqual(besides(changes), []);
  }
});

test("what is told is what was lost", () => {
  const [here, there] = ["did:key:zDnaeHere".padEnd(57, "1"), "did:key:zDnaeThere".padEnd(57, "2")];
  const state = (): State => new State(new Uint8Array(4).fill(1));
  const outdone = (): { ours: State; written: Uint8Array } => {
    const [ours, theirs] = [state(), state()];
    ours.set("position", 10, 1, here);
    const written = ours.encode();
    theirs.merge(written, 1);
    theirs.set("position", 20, 1, there);
    ours.merge(theirs.encodeRegisters(), 1);
    return { ours, written };
  };
  assert.deepEqual(outdone().ours.takeOvertaken(), [{ name: "position", by: here, value: 10 }]);
  const { ours, written } = outdone();
  assert.deepEqual([ours.settle(written), ours.settle(written), ours.takeOvertaken()], [true, false, []]);
  const { ours: again } = outdone();
  again.set("position", 30, 1, here);
  assert.deepEqual(again.takeOvertaken(), []);
  // Where there is no room for it, and however many there are to tell of: what is kept is read again.
  const fill = (one: State, prefix: string, by: string): State => {
    for (let n = 0; n < 64; n++) one.set(`${prefix}${String(n).padStart(2, "0")}`, n, 1, by);
    return one;
  };
  const full = state();
  full.set("z", 1, 1, here);
  full.merge(fill(state(), "a", there).encodeRegisters(), 1);
  assert.deepEqual(full.takeOvertaken(), [{ name: "z", by: here, value: 1 }]);
  const many = fill(state(), "a", here);
  assert.ok(many.giveWay(state().encode(), 0, 1, here));
  fill(many, "b", here);
  const started = state();
  started.restore(many.encode(), 1);
  started.takeUnsaved(many.unsaved());
  assert.equal(started.names().length, 64);
});

test("what is set without holding it gives way, and is told", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop);
  here.set("position", 43);
  await here.save();
  const { document: there } = await Document.of(await handOver(here.session, phone));
  there.set("position", 60);
  await there.save();
  await here.follow();
  here.set("position", 50);
  assert.equal(await here.save(), undefined, "there is nothing that anybody would take");
  // Offline it had set another as well.
  const replica = (await Replica.load(laptop, here.session.id)) ?? assert.fail();
  assert.equal(replica.get("position"), 60);
  replica.set("rate", 2);
  await replica.keep();
  const told = ({ outdone, changed }: Changes): unknown => [outdone.map(({ name, value }) => [name, value]), changed];
  const both = [[["position", 50], ["rate", 2]], true];
  // In this run or in another, once.
  const open = async (): Promise<{ document: Document; changes: Changes }> => Document.of(await Session.load(laptop, here.session.id));
  const another = await open();
  assert.deepEqual([told(another.changes), told(await here.follow())], [both, both]);
  for (const document of [here, another.document]) {
    assert.deepEqual(told(await document.follow()), [[], false]);
    assert.deepEqual([document.get("position"), document.get("rate")], [60, undefined]);
  }
  await here.keep();
  assert.deepEqual((await open()).changes.outdone, []);
  // Who holds it sets it.
  await there.follow();
  there.set("position", 61);
  await there.save();
  assert.deepEqual((await here.follow()).outdone, []);
  assert.equal(here.get("position"), 61);
});

test("two windows of one device write into one document", async () => {
  const laptop = await full(server, "Laptop");
  const one = await Document.open(laptop);
  const two = await reopened(one, laptop);
  one.doc.getText("notes").insert(0, "one ");
  two.doc.getText("notes").insert(0, "two ");
  await one.save();
  assert.equal((await two.save())?.to, "session");
  await one.follow();
  assert.equal(notes(one), notes(two));
  assert.ok(notes(one).includes("one ") && notes(one).includes("two "));
});

test("away from the network everything stays where it was written", async () => {
  let away = false;
  const fetch: typeof around.fetch = (input, init) => (away ? Promise.reject(new TypeError("no network")) : around.fetch(input, init));
  const surroundings: Surroundings = { ...around, fetch };
  const laptop = await restarted(await full(server, "Train"), new Http(surroundings));
  const document = await Document.open(laptop);
  away = true;
  document.doc.getText("notes").insert(0, "written in a tunnel");
  await assert.rejects(document.save(), refusal("transport"));
  document.set("position", { at: 12.5, rate: 1 });
  await assert.rejects(document.follow(), refusal("transport"));
  away = false;
  assert.equal((await document.save())?.to, "session");
  const read = await reopened(document, laptop);
  assert.deepEqual([notes(read), read.get("position")], ["written in a tunnel", { at: 12.5, rate: 1 }]);
});

test("documents are there without a network", async () => {
  const dir = mkdtempSync(join(tmpdir(), "baton-document-"));
  const path = join(dir, "device.key");
  const online = new Http(around);
  const asked = { ...asking(server, "Laptop"), store: new FileStore(path, "a passphrase") };
  const here = await enrolHere(asked, CALLBACK);
  const laptop = await redeemHere(asked, here.pending, (await server.approve(here.url, "yes")) ?? "");
  const document = await Document.open(laptop);
  document.doc.getText("notes").insert(0, "bread");
  document.set("position", 43);
  await document.save();
  document.doc.getText("notes").insert(5, ", milk");
  await document.keep();
  const { id } = document.session;

  // Another run, which asks nobody anything; two tabs of it.
  const nobody: Surroundings = { ...around, fetch: () => Promise.reject(new TypeError("no network")) };
  const start = async (http: Http): Promise<Device> => (await Device.load(new FileStore(path, "a passphrase"), http)) ?? assert.fail();
  const offline = await start(new Http(nobody));
  assert.deepEqual(await Replica.list(offline), [id]);
  const [one, two] = [await Replica.load(offline, id), await Replica.load(offline, id)];
  assert.ok(one && two);
  assert.deepEqual([one.doc.getText("notes").toJSON(), one.get("position")], ["bread, milk", 43]);
  one.doc.getText("notes").insert(0, "butter, ");
  two.set("position", 50);
  await Promise.all([one.keep(), two.keep()]);
  assert.ok(!readFileSync(join(`${path}.documents`, id)).includes("bread"));

  // And one with a network.
  const [again, phone] = [await start(online), await full(server, "Phone")];
  const { document: there } = await Document.of(await Session.load(again, id));
  assert.deepEqual([notes(there), there.get("position")], ["butter, bread, milk", 50]);
  assert.equal((await there.save())?.to, "session");
  assert.equal(notes(await reopened(there, phone)), "butter, bread, milk");
  const bytes = readFileSync(join(`${path}.documents`, id));
  bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
  writeFileSync(join(`${path}.documents`, id), bytes);
  await assert.rejects(Replica.load(offline, id), refusal("wrap.invalid"));
  // It holds up nobody: it is set aside, and the document is what the session has.
  const { document: whole, changes } = await Document.of(await Session.load(again, id));
  assert.deepEqual([changes.setAside, notes(whole)], [true, "butter, bread, milk"]);
  assert.deepEqual(readFileSync(join(`${path}.documents`, `damaged-${id}`)), bytes);
  await whole.keep();
  await Replica.forget(offline, id);
  assert.equal(await Replica.load(offline, id), undefined);
  assert.deepEqual(await Replica.list(offline), []);
  await assert.rejects(offline.store.keepReplica("../x", new Uint8Array()), RangeError);
  rmSync(dir, { recursive: true });
});

test("who is revoked while away keeps what they wrote", async () => {
  const dir = mkdtempSync(join(tmpdir(), "baton-document-"));
  const store = (): FileStore => new FileStore(join(dir, "device.key"), "a passphrase");
  const laptop = await full(server, "Boat", store());
  const document = await Document.open(laptop);
  const { id } = document.session;
  document.doc.getText("notes").insert(0, " and on deck");
  await document.keep();
  // Started anew on a boat.
  const start = async (): Promise<Device> => (await Device.load(store(), new Http(around))) ?? assert.fail();
  const replica = (await Replica.load(await start(), id)) ?? assert.fail();
  replica.doc.getText("notes").insert(0, "written on a boat");
  await replica.keep();
  await server.revoke(laptop);
  // Neither the run from before nor another gets it in, and both leave it where it is.
  await assert.rejects(document.save(), refusal("status.revoked"));
  await assert.rejects(Session.load(await start(), id), refusal("status.revoked"));
  const kept = (await Replica.load(await start(), id)) ?? assert.fail();
  assert.equal(kept.doc.getText("notes").toJSON(), "written on a boat and on deck");
  rmSync(dir, { recursive: true });
});

test("what is no document is said to be none, and kept", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const bytes = await Session.open(laptop, utf8("00:43"));
  await assert.rejects(Document.of(await Session.load(laptop, bytes.id)), refusal("state.form"));
  const document = await Document.open(laptop);
  const stale = await Session.load(laptop, document.session.id);
  const { document: there } = await Document.of(await handOver(document.session, phone));
  await stale.write(utf8("00:44"));
  const [late] = (await there.follow()).late;
  assert.deepEqual(late?.outcome, { is: "beside", content: utf8("00:44") });

  const good = document.state.encode();
  const state = new State(Uint8Array.of(0, 0, 0, 9));
  for (const bad of [new Uint8Array(), good.subarray(0, 4), Uint8Array.of(2, ...good.subarray(1)), Uint8Array.of(1, 0, 0, 0, 200, ...good.subarray(5)), Uint8Array.of(...good.subarray(0, 5), 1, 2, 3)]) {
    assert.throws(() => state.merge(bad, 1), refusal("state.form"));
  }
  for (const [name, value] of [["no spaces", 1], ["", 1], ["x", "x".repeat(5000)]] as const) {
    assert.throws(() => document.set(name, value), refusal("state.form"));
  }
});

test("a shared document is written by all", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop, { mode: "shared" });
  const there = await reopened(here, phone);
  for (let n = 0; n < 3; n++) {
    here.doc.getText("notes").insert(0, `here ${n}. `);
    there.doc.getText("notes").insert(0, `there ${n}. `);
    const written = await Promise.all([here.save(), there.save()]);
    assert.deepEqual(written.map((one) => one?.to), ["session", "session"]);
  }
  await here.follow();
  await there.follow();
  assert.equal(notes(here), notes(there));
  assert.deepEqual([here.session.isHeld, there.session.isHeld], [true, false]);
  // Handed over while the other goes on writing.
  const { document: held } = await Document.of(await handOver(here.session, phone));
  here.doc.getText("notes").insert(0, "after. ");
  assert.equal((await here.save())?.to, "session");
  const changes = await held.follow();
  assert.deepEqual([changes.changed, changes.by, notes(held).startsWith("after. ")], [true, [laptop.did], true]);
});

test("what is written over a document locks nobody out", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop, { mode: "shared" });
  here.doc.getText("notes").insert(0, "bread");
  await here.save();
  const there = await reopened(here, phone);
  await here.session.write(Uint8Array.of(0));
  const { changed, late } = await there.follow();
  assert.deepEqual([changed, late], [false, [{ device: laptop.did, epoch: 1, outcome: { is: "beside", content: Uint8Array.of(0) } }]]);
  there.doc.getText("notes").insert(5, ", milk");
  assert.equal((await there.save())?.to, "session");
  await here.follow();
  assert.equal(notes(here), "bread, milk");
});

test("a late edit that nobody can read keeps nobody from the rest", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const here = await Document.open(laptop);
  const stale = await reopened(here, laptop);
  const there = (await Document.of(await handOver(here.session, phone))).document;
  stale.doc.getText("notes").insert(0, "late");
  await stale.save();
  // In its place the broker has something that this device has no key for.
  const branches = await there.session.branches();
  assert.deepEqual(branches.map(({ counts }) => counts), [true]);
  there.session.keys.delete(1);
  const without = await there.session.branches();
  assert.deepEqual(without.map(({ content, counts }) => [content, counts]), [[undefined, false]]);
});
