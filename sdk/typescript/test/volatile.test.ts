/** What devices say to each other just now, over a real server: at once to whoever listens, sealed, and kept by nobody. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Outbox, Session, listen, type Device, type Frame } from "../src/index.js";
import { Document } from "../src/document/index.js";
import type { SealedUpdate } from "../src/session/update.js";
import { utf8 } from "../src/base64url.js";
import { full, refusal } from "./people.js";
import { Server } from "./server.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

/** A stream that is open, and hears: it has been told who is there. */
async function opened(device: Device, outbox?: Outbox): Promise<{ frames: AsyncGenerator<Frame, void>; stop: AbortController }> {
  const stop = new AbortController();
  const frames = listen(device, { presence: true, volatile: true, ...(outbox ? { outbox } : {}), signal: stop.signal });
  assert.equal((await frames.next()).value?.type, "open");
  await next(frames, "presence");
  return { frames, stop };
}

async function next<T extends Frame["type"]>(frames: AsyncGenerator<Frame, void>, type: T): Promise<Extract<Frame, { type: T }>> {
  for (;;) {
    const { value } = await frames.next();
    assert.ok(value);
    if (value.type === type) return value as Extract<Frame, { type: T }>;
  }
}

test("a position reaches whoever looks on", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const film = await Document.open(laptop);
  const { document: shown } = await Document.of(await Session.load(phone, film.session.id));
  const outbox = new Outbox();
  const [speaks, hears] = [await opened(laptop, outbox), await opened(phone)];
  for (const at of [43, 44]) {
    film.set("position", { at, rate: 1 });
    await outbox.say(film.session.id, () => film.volatile());
    const { update } = await next(hears.frames, "volatile");
    assert.ok(await shown.hear(update));
    assert.deepEqual(shown.get("position"), { at, rate: 1 });
    assert.equal(await shown.hear(update), false, "told twice");
    await assert.rejects(shown.hear({ ...update, epoch: 2 }), refusal("state.rollback"));
    await assert.rejects(shown.hear({ ...update, seq: update.seq + 1 }), refusal("state.undecryptable"));
  }
  speaks.stop.abort();
  hears.stop.abort();
});

test("of many the newest is sealed, and what fails is told", async () => {
  const sent: string[] = [];
  let release = (): void => undefined;
  const outbox = new Outbox(() => new Promise((resolve) => (release = resolve)));
  const seal = (n: number) => (): Promise<SealedUpdate> => Promise.resolve({ seq: n } as SealedUpdate);
  const early = outbox.say("ses_1", seal(0));
  const first = outbox.say("ses_1", seal(1));
  await early;
  outbox.attach((text) => sent.push(text));
  await first;
  const [second, third, other] = [outbox.say("ses_1", seal(2)), outbox.say("ses_1", seal(3)), outbox.say("ses_2", () => Promise.reject(new RangeError("no")))];
  await second;
  release();
  await third;
  await new Promise(setImmediate);
  release();
  await assert.rejects(other, RangeError);
  assert.deepEqual(sent.map((text) => (JSON.parse(text) as { update: { seq: number } }).update.seq), [1, 3]);
  outbox.detach(() => undefined);
});

test("who does not hold a session says nothing of it", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const session = await Session.open(laptop, utf8("00:43"), { needs: { needs: [["a-word-that-takes-room".repeat(2)]], adapts: [] } });
  const followed = await Session.load(phone, session.id);
  await assert.rejects(followed.volatile(utf8("00:44")), refusal("handoff.not_holder"));
  const outbox = new Outbox();
  const { frames, stop } = await opened(laptop, outbox);
  await outbox.say(session.id, () => session.volatile(new Uint8Array(3072)));
  await outbox.say(session.id, async () => ({ ...(await session.volatile(utf8("00:44"))), key_version: 2 }));
  assert.equal((await next(frames, "refused")).code, "state.rekey_required");
  stop.abort();
});
