/** @openid4vc/openid4vp and dcql as a holder's wallet: it fetches and checks the signed request, matches it, and answers in both response modes. */

import type { Device } from "@baton/sdk";
import { RelyingService } from "@baton/sdk/node";
import { RELYING_KEY, Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Authority } from "./certificates.js";
import { television } from "./support.js";
import { VCT, answer } from "./wallet.js";

let server: Server;
let device: Device;
before(async () => {
  server = await Server.start({ certificate: await (await Authority.make()).certificate() });
  device = await television(server);
});
after(() => server.stop());

const relying = async <T>(method: "GET" | "POST", path: string, body?: object): Promise<T> => {
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${server.url}/verifier/v1${path}`, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  assert.ok(answer.ok, await answer.clone().text());
  return (await answer.json()) as T;
};

const prefixes = ["decentralized_identifier", "x509_hash", "redirect_uri"] as const;
const ways = prefixes.flatMap((prefix) => (["direct_post", "direct_post.jwt"] as const).map((mode) => [prefix, mode] as const));
for (const [prefix, responseMode] of ways) {
  test(`a wallet answers a verifier known by ${prefix}, by ${responseMode}`, async () => {
    const query = { credentials: [{ id: "device", format: "dc+sd-jwt", meta: { vct_values: [VCT] }, claims: [{ path: ["kind"], values: ["tv", "phone"] }] }] };
    const made = await relying<{ transaction: string; authorization_request: string }>("POST", "/transactions", { dcql_query: query, response_mode: responseMode, client_id_prefix: prefix, ...(prefix === "redirect_uri" ? { device: device.did } : { cross_device: true }) });
    // Told as it happens, by server-sent events.
    const settled = new RelyingService(`${server.url}/verifier`, RELYING_KEY).settled(made.transaction);
    assert.deepEqual(await answer(device, made.authorization_request, { kind: "tv" }), { prefix, responseMode, status: 200 });
    assert.equal(await settled, true);
    const result = await relying<{ state: string; credentials: Record<string, { device: string; claims: object; tier: string }[]> }>("GET", `/transactions/${made.transaction}`);
    const [verdict] = result.credentials["device"] ?? [];
    assert.deepEqual([result.state, verdict?.device, verdict?.claims, verdict?.tier], ["answered", device.did, { kind: "tv" }, "limited"]);
  });
}
