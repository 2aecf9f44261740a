/** What goes over a stream that is there: updates without a proof for each, and another token. Over a real server, through a socket that is looked into. */

import assert from "node:assert/strict";
import { after, before, mock, test } from "node:test";
import { Http, Outbox, Session, listen, type Device } from "../src/index.js";
import type { Socket, Surroundings } from "../src/http.js";
import { utf8 } from "../src/base64url.js";
import { around, full, restarted, text } from "./people.js";
import { Server } from "./server.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

/** A device whose requests and frames are counted, and whose frames may be changed on the way to it. */
class Watched {
  posted = 0;
  readonly said: string[] = [];
  readonly heard: string[] = [];
  change = (frame: string): string => frame;
  /** What is to come is given to this instead, to be delivered later. */
  hold: ((deliver: () => void) => void) | undefined;
  #wake = (): void => undefined;

  readonly surroundings: Surroundings = {
    ...around,
    fetch: (input, init) => {
      if (init?.method === "POST" && String(input).endsWith("/updates")) this.posted++;
      return around.fetch(input, init);
    },
    socket: (url) => this.#watch(around.socket(url)),
  };

  #watch(socket: Socket): Socket {
    const send = socket.send.bind(socket);
    socket.send = (frame) => {
      this.said.push(kind(frame));
      send(frame);
    };
    return new Proxy(socket, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
      set: (target, name, value) => {
        if (name !== "onmessage") return Reflect.set(target, name, value);
        target.onmessage = ({ data }) => {
          const deliver = (): void => {
            const frame = this.change(String(data));
            this.heard.push(kind(frame));
            (value as (event: { data: unknown }) => void)({ data: frame });
            this.#wake();
          };
          if (this.hold) this.hold(deliver);
          else deliver();
        };
        return true;
      },
    });
  }

  /** Until so many frames of a kind were heard. */
  async hears(what: string, count = 1): Promise<void> {
    while (this.heard.filter((heard) => heard === what).length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

const kind = (frame: string): string => (JSON.parse(frame) as { type: string }).type;

/** Listens until it is stopped. */
function listening(device: Device): { stop: () => Promise<void> } {
  const ends = new AbortController();
  const done = (async () => {
    for await (const frame of listen(device, { outbox: new Outbox(), signal: ends.signal })) assert.ok(frame.type);
  })();
  return {
    stop: () => {
      ends.abort();
      return done;
    },
  };
}

test("what is written goes over the stream, and is posted where that does not take it", async () => {
  const watched = new Watched();
  const laptop = await restarted(await full(server, "Laptop"), new Http(watched.surroundings));
  const phone = await full(server, "Phone");
  const session = await Session.open(laptop, utf8("0"));
  assert.equal(watched.posted, 1);
  const stream = listening(laptop);
  await watched.hears("renewed");
  for (const content of ["1", "2", "3"]) await session.write(utf8(content));
  assert.deepEqual([watched.posted, watched.said], [1, ["renew", "update", "update", "update"]]);
  assert.equal(text(await Session.load(phone, session.id)), "3");

  await session.write(new Uint8Array(16 * 1024));
  assert.equal(watched.posted, 2, "too long for a frame");
  // What is said to have been refused stands all the same, and counts once.
  watched.change = (frame) => frame.replace(/"type":"written".*"hash"/, '"type":"unwritten","code":"unavailable","hash"');
  const { seq } = session.head;
  await session.write(utf8("5"));
  assert.deepEqual([watched.posted, session.head.seq], [3, seq + 1]);
  watched.change = (frame) => frame;
  await stream.stop();
  await session.write(utf8("6"));
  assert.equal(watched.posted, 4, "no stream any more");
  assert.equal(text(await Session.load(phone, session.id)), "6");
});

test("an answer that does not come is waited for once", async () => {
  const watched = new Watched();
  const laptop = await restarted(await full(server, "Laptop"), new Http(watched.surroundings));
  const session = await Session.open(laptop, utf8("0"));
  const stream = listening(laptop);
  await watched.hears("renewed");
  // Nothing comes from here on, as where a network has gone without a word.
  const later: (() => void)[] = [];
  watched.hold = (deliver) => later.push(deliver);
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const writing = session.write(utf8("1"));
    while (!watched.said.includes("update")) await new Promise(setImmediate);
    mock.timers.tick(3000);
    mock.timers.reset();
    await writing;
    await session.write(utf8("2"));
    assert.deepEqual([watched.posted, watched.said], [3, ["renew", "update"]]);
    watched.hold = undefined;
    assert.ok(later.length > 0);
    for (const deliver of later) deliver();
    await session.write(utf8("3"));
    assert.deepEqual([watched.posted, watched.said], [3, ["renew", "update", "update"]]);
  } finally {
    mock.timers.reset();
    await stream.stop();
  }
});

test("before its end the stream is given another token", async () => {
  const watched = new Watched();
  const laptop = await restarted(await full(server, "Laptop"), new Http(watched.surroundings));
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const stream = listening(laptop);
    await watched.hears("renewed");
    mock.timers.tick(269_000);
    assert.equal(watched.said.length, 1);
    mock.timers.tick(20_000);
    await watched.hears("renewed", 2);
    // The stream that has not gone on would have been taken for broken by now.
    mock.timers.tick(60_000);
    assert.deepEqual(watched.said, ["renew", "renew"]);
    await stream.stop();
  } finally {
    mock.timers.reset();
  }
});

test("who only listens shows a key when its token is about to end, and not before", async () => {
  const watched = new Watched();
  const laptop = await restarted(await full(server, "Laptop"), new Http(watched.surroundings));
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const ends = new AbortController();
    const frames = listen(laptop, { presence: true, signal: ends.signal });
    await frames.next();
    const told = frames.next();
    await watched.hears("presence");
    await told;
    mock.timers.tick(269_000);
    assert.deepEqual(watched.said, []);
    mock.timers.tick(20_000);
    await watched.hears("renewed");
    assert.deepEqual(watched.said, ["renew"]);
    ends.abort();
  } finally {
    mock.timers.reset();
  }
});

test("a proof that wants another nonce is made again, once", async () => {
  const watched = new Watched();
  const laptop = await restarted(await full(server, "Laptop"), new Http(watched.surroundings));
  const session = await Session.open(laptop, utf8("0"));
  watched.change = (frame) => frame.replace(/"type":"renewed".*}/, '"type":"unrenewed","code":"use_dpop_nonce","nonce":"made-up"}');
  const stream = listening(laptop);
  await watched.hears("unrenewed", 2);
  await session.write(utf8("1"));
  // Posted, and once more for the nonce that was made up.
  assert.deepEqual([watched.posted, watched.said], [3, ["renew", "renew"]]);
  await stream.stop();
});
