/** Sessions between devices of this SDK, against a real server; and from and to the terminal, which is the Rust SDK. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Asked, Http, Offered, Outbox, Requested, Session, Waiting, listen, type Device, type Frame, type SessionEvent, type Socket, type Surroundings } from "../src/index.js";
import { utf8 } from "../src/base64url.js";
import { around, full, limited, restarted, handOver, refusal, text } from "./people.js";
import { Server, Terminal } from "./server.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

test("an offer that is declined moves nothing, and says why", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const session = await Session.open(laptop, utf8("minute 5"));
  const offered = await Offered.make(session, { device: phone.did });
  const waiting = (await Waiting.list(phone)).find((one) => one.id === offered.id);
  await waiting?.decline("busy");
  assert.equal(await offered.finish(), false);
  const { state, reason } = await offered.state();
  assert.deepEqual([state, reason], ["declined", "busy"]);
  assert.equal((await session.write(utf8("minute 6"))).to, "session");
});

test("of several that are asked the first to accept has it", async () => {
  const [laptop, phone, tv] = [await full(server, "Laptop"), await full(server, "Phone"), await limited(server, "Television")];
  const session = await Session.open(laptop, utf8("minute 5"));
  const offered = await Offered.make(session, { any_of: [phone.did, tv.did] });
  const of = async (device: Device): Promise<Waiting | undefined> => (await Waiting.list(device)).find((one) => one.id === offered.id);
  const [slow, quick] = [await of(phone), await of(tv)];
  const [finished, taken] = await Promise.all([offered.finish(), quick?.take()]);
  assert.ok(finished && taken?.isHeld);
  await assert.rejects(slow?.accept() ?? Promise.resolve(), refusal("handoff.taken"));
  await assert.rejects(Offered.make(taken, { any_of: [laptop.did] }), refusal("handoff.statement"));
});

test("a session moves from one full device to another, and a late write becomes a branch", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const session = await Session.open(laptop, utf8("minute 42"));
  await session.write(utf8("minute 43"));
  const late = await Session.load(await restarted(laptop), session.id);
  const taken = await handOver(session, phone);
  assert.deepEqual([text(taken), taken.chain.epoch, taken.isHeld, session.isHeld], ["minute 43", 2, true, false]);
  await assert.rejects(session.heartbeat(), refusal("handoff.not_holder"));

  assert.deepEqual(await late.write(utf8("minute 44, too late")), { to: "branch", epoch: 2 });
  const branches = await taken.branches();
  assert.deepEqual(branches.map((branch) => [branch.device, new TextDecoder().decode(branch.content)]), [[laptop.did, "minute 44, too late"]]);

  assert.equal((await taken.write(utf8("minute 45"))).to, "session");
  await session.follow();
  assert.equal(text(session), "minute 45");
});

test("a limited device takes a session that names it, and hands it back under a new key", async () => {
  const [laptop, tv] = [await full(server, "Laptop"), await limited(server, "Television")];
  const session = await Session.open(laptop, utf8("minute 1"));
  await assert.rejects(Session.load(tv, session.id), refusal("not_found"));
  const watching = await handOver(session, tv);
  await watching.write(utf8("minute 2"));
  const back = await handOver(watching, laptop);
  assert.deepEqual([text(back), back.chain.epoch], ["minute 2", 3]);
  await back.write(utf8("minute 3"));
  assert.equal(back.chain.keyVersion, 2, "the session has left a limited device");
});

test("from one limited device to another, by way of nobody's full one", async () => {
  const [laptop, tv, projector] = [await full(server, "Laptop"), await limited(server, "Television"), await limited(server, "Projector")];
  const watching = await handOver(await Session.open(laptop, utf8("minute 1")), tv);
  const shown = await handOver(watching, projector);
  assert.equal((await shown.write(utf8("minute 2"))).to, "session");
  await assert.rejects(watching.follow(), refusal("not_found"), "what it once held it reads no more");
});

test("from the terminal to here and back: two implementations of one protocol", async () => {
  const here = await full(server, "Browser");
  const terminal = await Terminal.enrol(server, "Terminal");
  const session = await Session.open(here, utf8("begun in TypeScript"));
  const receiving = terminal.run("receive");
  const did = await terminal.did();
  const offered = await Offered.make(session, { device: did });
  while ((await offered.state()).state === "offered") await session.heartbeat();
  await offered.seal();
  assert.match(await receiving, /held at epoch 2\nbegun in TypeScript/);

  await terminal.run("write", session.id, "gone on in Rust");
  const pushing = terminal.run("push", session.id, here.did);
  let waiting: Waiting | undefined;
  while (!waiting) [waiting] = await Waiting.list(here);
  await waiting.accept();
  while ((await waiting.state()) !== "sealed") await here.members();
  const back = await waiting.complete();
  assert.match(await pushing, /sealed to/);
  assert.deepEqual([text(back), back.chain.epoch], ["gone on in Rust", 3]);
});

/** What is asked of a device, once it is. */
async function askedOf(device: Device): Promise<Asked> {
  for (;;) {
    const [asked] = await Asked.list(device);
    if (asked) return asked;
  }
}

test("who is asked hands it over, or keeps it; who asks may think better of it", async () => {
  const [laptop, phone, tv] = [await full(server, "Laptop"), await full(server, "Phone"), await limited(server, "Television")];
  const session = await Session.open(laptop, utf8("minute 5"));
  const onPhone = await Session.load(phone, session.id);
  const kept = await Requested.make(onPhone);
  assert.equal((await Requested.make(onPhone)).id, kept.id, "twice is once");
  assert.deepEqual([(await Waiting.list(phone)).length, (await Waiting.list(tv)).length], [0, 0], "nothing is offered yet");
  const asked = await askedOf(laptop);
  assert.deepEqual([asked.session, asked.by], [session.id, phone.did]);
  await asked.decline("busy");
  assert.equal(await kept.take(), undefined);
  assert.deepEqual([(await kept.state()).state, (await kept.state()).reason], ["declined", "busy"]);
  const withdrawn = await Requested.make(onPhone);
  await withdrawn.cancel();
  assert.deepEqual([(await withdrawn.state()).state, (await Asked.list(laptop)).length], ["cancelled", 0]);
  const late = await Requested.make(onPhone);
  await Offered.agree(session, await askedOf(laptop));
  await late.cancel();
  assert.equal((await late.state()).state, "declined", "withdrawn when it had just been offered");
  // An offer to somebody else is an answer as well.
  const overtaken = await Requested.make(onPhone);
  const [watching, back] = [await handOver(session, tv), await overtaken.take()];
  assert.deepEqual([back, (await overtaken.state()).reason], [undefined, "elsewhere"]);
  // Of a limited device too, which itself may ask for nothing.
  await onPhone.follow();
  const requested = await Requested.make(onPhone);
  const [given, here] = await Promise.all([askedOf(tv).then((one) => Offered.agree(watching, one)).then((offered) => offered.finish()), requested.take()]);
  assert.ok(given && here);
  assert.deepEqual([text(here), here.isHeld, watching.isHeld], ["minute 5", true, false]);
  await assert.rejects(Requested.make(watching), refusal("insufficient_scope"));
});

test("asked for by the terminal, and asked of it: two implementations of one protocol", async () => {
  const here = await full(server, "Browser");
  const terminal = await Terminal.enrol(server, "Terminal");
  const session = await Session.open(here, utf8("begun in TypeScript"));
  const pulling = terminal.run("pull", session.id);
  const offered = await Offered.agree(session, await askedOf(here));
  assert.ok(await offered.finish());
  assert.match(await pulling, /held at epoch 2\nbegun in TypeScript/);

  await session.follow();
  const requested = await Requested.make(session);
  const giving = terminal.gives();
  const back = await requested.take();
  assert.match(await giving, /Browser asks for .*\nType yes.*\nsealed to Browser/);
  assert.equal(back?.isHeld, true);
});

test("from one limited device to the next, with nothing written between: the key of the first is good no more", async () => {
  const [laptop, tv, radio] = [await full(server, "Laptop"), await limited(server, "Television"), await limited(server, "Radio")];
  const onTv = await handOver(await Session.open(laptop, utf8("minute 5")), tv);
  const { version } = onTv.key;
  const onLaptop = await handOver(onTv, laptop);
  const onRadio = await handOver(onLaptop, radio);
  assert.deepEqual([text(onRadio), onRadio.key.version], ["minute 5", version + 1]);
});

test("a detached session is claimed from its last state, with a new key", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const session = await Session.open(laptop, utf8("minute 9"));
  const mine = await Session.load(phone, session.id);
  await assert.rejects(mine.claim(), refusal("handoff.taken"));
  await server.revoke(laptop);
  const again = await Session.load(phone, session.id);
  await again.claim();
  assert.deepEqual([text(again), again.chain.epoch, again.chain.keyVersion, again.isHeld], ["minute 9", 2, 2, true]);
});

test("events come in order, resume where they stopped, and end when the device is revoked", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const heard: SessionEvent[] = [];
  const stop = new AbortController();
  const frames = listen(phone, { signal: stop.signal });
  assert.deepEqual((await frames.next()).value, { type: "open" });
  const session = await Session.open(laptop, utf8("one"));
  for await (const event of frames) {
    if (event.type === "event") heard.push(event);
    if (event.type === "event" && event.kind === "session.updated") stop.abort();
  }
  assert.deepEqual(heard.map((event) => event.kind), ["session.opened", "session.updated"]);
  assert.ok(heard.every((event) => event.session === session.id));

  await session.write(utf8("two"));
  const cursor = heard.at(-1)?.seq ?? 0;
  assert.deepEqual(await numbers(listen(phone, { cursor }), 1), [cursor + 1]);

  const toTheEnd = (async () => {
    for await (const event of listen(phone, { cursor })) assert.notEqual(event.type, "gap");
  })();
  const ended = assert.rejects(toTheEnd, refusal("status.revoked"));
  await server.revoke(phone);
  await ended;
});

test("a connection that breaks is made again, and nothing is told twice or left out", async () => {
  const laptop = await full(server, "Laptop");
  let opened = 0;
  const broken: Surroundings = {
    ...around,
    socket(url) {
      const socket = around.socket(url);
      // Each connection but the third breaks after its first frame.
      if (++opened === 3) return socket;
      const breaking: Socket = { onopen: null, onmessage: null, onclose: null, onerror: null, send: () => undefined, close: () => socket.close() };
      socket.onmessage = (event) => {
        breaking.onmessage?.(event);
        socket.onmessage = null;
        socket.close();
      };
      socket.onclose = (event) => breaking.onclose?.(event);
      return breaking;
    },
  };
  const listening = await restarted(laptop, new Http(broken));
  const session = await Session.open(laptop, utf8("0"));
  const [begun] = await numbers(listen(laptop, { cursor: 0 }), 1);
  for (let n = 1; n < 5; n++) await session.write(utf8(String(n)));
  const seen = await numbers(listen(listening, { cursor: begun ?? 0 }), 5);
  assert.deepEqual(seen, [1, 2, 3, 4, 5].map((n) => n + (begun ?? 0)));
  assert.equal(opened, 3);
});

test("a page that is back has its connection made anew at once, and off the network it has none", async () => {
  const laptop = await full(server, "Laptop");
  let paused = 0;
  const opened: Socket[] = [];
  const counting: Surroundings = {
    ...around,
    // Each is dead when it is closed, and does not say so.
    socket: (url) => {
      const socket = around.socket(url);
      const close = socket.close.bind(socket);
      socket.close = (): void => {
        socket.onclose = null;
        close();
      };
      opened.push(socket);
      return socket;
    },
    // As long as nobody is back, for ever.
    pause: () => (paused++, new Promise(() => undefined)),
  };
  const window = new EventTarget() as unknown as Window;
  const listening = await restarted(laptop, new Http(counting));
  const outbox = new Outbox();
  const stop = new AbortController();
  const frames = listen(listening, { window, outbox, signal: stop.signal });
  assert.equal((await frames.next()).value?.type, "open");
  assert.equal(listening.lines.size, 1);
  // What it had died with the lid closed.
  for (const event of ["pageshow", "online"]) {
    window.dispatchEvent(new Event(event));
    assert.equal((await frames.next()).value?.type, "open", event);
  }
  assert.deepEqual([opened.length, paused], [3, 0]);
  const next = frames.next();
  window.dispatchEvent(new Event("offline"));
  assert.equal(listening.lines.size, 0, "nothing is written into a stream that leads nowhere");
  while (paused === 0) await new Promise(setImmediate);
  window.dispatchEvent(new Event("offline"));
  await new Promise(setImmediate);
  assert.equal(opened.length, 3);
  window.dispatchEvent(new Event("online"));
  assert.equal((await next).value?.type, "open");
  assert.deepEqual([opened.length, paused], [4, 1]);
  stop.abort();
});

/** The numbers of the next events. */
async function numbers(events: AsyncGenerator<Frame>, count: number): Promise<number[]> {
  const seen: number[] = [];
  for await (const event of events) {
    assert.notEqual(event.type, "gap");
    if (event.type === "event") seen.push(event.seq);
    if (seen.length === count) break;
  }
  return seen;
}

test("history that is gone is told as a gap", async () => {
  const laptop = await full(server, "Laptop");
  const session = await Session.open(laptop, utf8("one"));
  const events = listen(laptop, { cursor: 1_000_000 });
  assert.deepEqual((await events.next()).value, { type: "open" });
  const gap = (await events.next()).value;
  assert.ok(gap?.type === "gap");
  await session.write(utf8("two"));
  assert.deepEqual(await numbers(events, 1), [gap.resume_at]);
});
