/** Who is there: told by this SDK, against a real server. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Http, Session, keepPresent, listen, presentDevices, sayPresent, type Frame, type Present, type Surroundings } from "../src/index.js";
import { utf8 } from "../src/base64url.js";
import { Page } from "./page.js";
import { around, full, limited, refusal, restarted } from "./people.js";
import { Server } from "./server.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

/** The next that a stream tells of who is there. */
async function there(frames: AsyncGenerator<Frame, void>): Promise<Present[]> {
  for (;;) {
    const { value } = await frames.next();
    if (value?.type === "presence") return value.devices;
  }
}

test("the others see what is in front, and open what is shown of it", async () => {
  const [laptop, phone, tv] = [await full(server, "Laptop"), await full(server, "Phone"), await limited(server, "Television")];
  const session = await Session.open(laptop, utf8("The General"));
  const stop = new AbortController();
  const frames = listen(phone, { presence: true, signal: stop.signal });
  const before = (await there(frames)).map(({ device }) => device);
  assert.ok(!before.includes(laptop.did));

  await sayPresent(laptop, "online", { session, view: utf8("00:43") });
  const shown = (await there(frames)).find(({ device }) => device === laptop.did);
  assert.ok(shown);
  assert.deepEqual([shown.status, shown.session], ["online", session.id]);
  const followed = await Session.load(phone, session.id);
  assert.equal(new TextDecoder().decode(await followed.viewOn(shown)), "00:43");
  await assert.rejects(followed.viewOn({ ...shown, device: phone.did }), refusal("state.undecryptable"));
  assert.equal(await followed.viewOn({ ...shown, session: "ses_other" }), undefined);

  await sayPresent(laptop, "offline");
  assert.ok(!(await there(frames)).some(({ device }) => device === laptop.did));
  assert.deepEqual(await presentDevices(tv), [], "a limited device sees nobody");
  stop.abort();
});

test("while the person lets a device show nothing it seals nothing", async () => {
  const laptop = await full(server, "Laptop");
  const session = await Session.open(laptop, utf8("The General"));
  const said: string[] = [];
  const letting = (shows: boolean): Surroundings => ({
    ...around,
    fetch: async (input, init) => {
      if (String(input).endsWith("/v1/presence")) said.push(String(init?.body));
      const answer = await around.fetch(input, init);
      return String(input).endsWith("/v1/switches") && answer.ok ? Response.json({ ...((await answer.json()) as object), shows }, answer) : answer;
    },
  });
  for (const shows of [true, false]) {
    const device = await restarted(laptop, new Http(letting(shows)));
    await sayPresent(device, "online", { session: await Session.load(device, session.id), view: utf8("00:43") });
    assert.equal("view" in JSON.parse(said.at(-1) ?? ""), shows);
  }
});

test("a page is away while it is hidden, and tells anew when it is back", async () => {
  const [laptop, phone] = [await full(server, "Laptop"), await full(server, "Phone")];
  const session = await Session.open(laptop, utf8("The General"));
  const stop = new AbortController();
  const frames = listen(phone, { presence: true, signal: stop.signal });
  /** What the phone is told of the laptop next. */
  const next = async (): Promise<Present | undefined> => (await there(frames)).find(({ device }) => device === laptop.did);
  assert.equal(await next(), undefined);
  const page = new Page();
  const presence = keepPresent(laptop, () => ({ session }), page.surface);
  await presence.tell();
  assert.deepEqual(await next(), { device: laptop.did, status: "online", session: session.id });
  // From here on nobody tells but the page's own events.
  for (const back of ["visibilitychange", "pageshow", "online"] as const) {
    page.visible = false;
    page.hears("visibilitychange");
    assert.deepEqual(await next(), { device: laptop.did, status: "away" });
    page.visible = true;
    page.hears(back);
    assert.deepEqual(await next(), { device: laptop.did, status: "online", session: session.id }, back);
  }
  presence.stop();
  page.visible = false;
  for (const event of ["visibilitychange", "pageshow", "online"] as const) page.hears(event);
  await sayPresent(laptop, "online");
  assert.deepEqual(await next(), { device: laptop.did, status: "online" }, "what was stopped tells nothing");
  stop.abort();
});
