/** The example relying service in a browser's place: it asks, a wallet nobody here wrote answers, and the browser that asked sees every check. */

import { service } from "@baton/example-relying";
import { RelyingService } from "@baton/sdk/node";
import { RELYING_KEY, Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import type { Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { television } from "./support.js";
import { answer } from "./wallet.js";

let server: Server;
let shop: HttpServer;
let origin = "";
before(async () => {
  server = await Server.start();
  shop = service(new RelyingService(`${server.url}/verifier`, RELYING_KEY), () => origin);
  await new Promise<void>((resolve) => shop.listen(0, "127.0.0.1", resolve));
  origin = `http://localhost:${(shop.address() as AddressInfo).port}`;
});
after(() => {
  shop.close();
  server.stop();
});

const post = (path: string, form: Record<string, string>, headers: Record<string, string> = { origin }): Promise<Response> =>
  fetch(origin + path, { method: "POST", headers, body: new URLSearchParams(form), redirect: "manual" });

test("a shop asks, a wallet answers, and the browser that asked sees the verdict with every check", async () => {
  assert.match(await (await fetch(origin)).text(), /Ask my wallet/);
  const asked = await post("/ask", { claim: "kind" });
  const cookie = asked.headers.get("set-cookie")?.split(";")[0] ?? "";
  const place = asked.headers.get("location") ?? "";
  const look = async (headers: Record<string, string> = { cookie }): Promise<[number, string]> => {
    const page = await fetch(origin + place, { headers });
    return [page.status, await page.text()];
  };
  const [, waiting] = await look();
  assert.match(waiting, /<svg[^]*Waiting for an answer/);
  const link = /href="(openid4vp:[^"]+)"/.exec(waiting)?.[1]?.replaceAll("&amp;", "&") ?? assert.fail(waiting);

  const device = await television(server);
  assert.equal((await answer(device, link, { kind: "tv" })).responseMode, "direct_post.jwt");
  const [status, verdict] = await look();
  assert.equal(status, 200);
  assert.ok(verdict.includes(device.did) && verdict.includes("<th scope=\"row\">kind</th><td>tv</td>"), verdict);
  for (const check of ["issuer", "dates", "holder", "audience", "nonce", "transaction_data", "status", "query"]) {
    assert.match(verdict, new RegExp(`<th scope="row">${check}</th><td class="yes">`));
  }
  // Nobody else's browser, and nobody else's page.
  assert.equal((await look({}))[0], 404);
  assert.equal((await look({ cookie: "shop=guess" }))[0], 404);
  assert.equal((await post("/ask", {}, { origin: "https://elsewhere.example" })).status, 403);
  assert.equal((await post("/ask", {}, {})).status, 403);
});

test("a credential that does not hold is shown with the check that failed, and what it says stays text", async () => {
  const shown = await (await post("/credential", { credential: JSON.stringify({ type: "<script>alert(1)</script>" }) })).text();
  assert.match(shown, /It does not hold[^]*<th scope="row">form<\/th><td class="no">nothing secures it/);
  assert.ok(!shown.includes("<script>"), shown);
  assert.equal((await post("/credential", { credential: "{" })).status, 400);
});

test("a service whose key is wrong is told so", async () => {
  await assert.rejects(new RelyingService(`${server.url}/verifier`, "guess").ask({ credentials: [] }, { crossDevice: true }), /invalid_client/);
});
