/** A device answers relying services (OpenID4VP 1.0): what they ask for and no more, to its own verifier and to nobody else (KB-14). */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { Http, PresentationRequest, SoftKey, type Device, type Surroundings } from "../src/index.js";
import { RelyingService, type Asked, type Query } from "../src/node.js";
import { decode, encode, utf8 } from "../src/base64url.js";
import { answerWith, readQuery } from "../src/dcql.js";
import { systemRandom } from "../src/random.js";
import { fixture } from "./files.js";
import { around, full, refusal, restarted } from "./people.js";
import { RELYING_KEY, Server, Terminal } from "./server.js";

type Members = Record<string, unknown>;

let [server, device]: [Server, Device] = [] as never;
before(async () => {
  server = await Server.start();
  device = await full(server, "Phone");
});
after(() => server.stop());

const VCT = "urn:baton:vct:device-binding:1";
const query = (claims: object[] = [{ path: ["kind"] }]): Query => ({ credentials: [{ id: "device", format: "dc+sd-jwt", meta: { vct_values: [VCT] }, claims }] });

test("one credential answers as in Rust: fixtures/dcql-v1.json", () => {
  interface Case {
    credentials: object[];
    credential_sets?: object[];
    also?: string[];
    answer: Record<string, string[]> | null;
  }
  const { claims, cases } = fixture<{ claims: Members; cases: Case[] }>("dcql-v1.json");
  assert.ok(cases.length > 20);
  for (const { credentials, credential_sets, also = [], answer } of cases) {
    const whole = credentials.map((one) => ({ id: "device", format: "dc+sd-jwt", meta: { vct_values: ["v"] }, ...one }));
    const given = answerWith(readQuery({ credentials: whole, ...(credential_sets ? { credential_sets } : {}) }), claims, also);
    assert.deepEqual(given ? Object.fromEntries(given) : null, answer, JSON.stringify(credentials));
  }
  const one = { id: "x", format: "dc+sd-jwt", meta: { vct_values: ["v"] } };
  readQuery({ credentials: [one] });
  for (const bad of [null, {}, { credentials: [] }, { credentials: [one, one] }, { credentials: [{ ...one, format: "mso_mdoc" }] }, { credentials: [{ ...one, claims: [] }] }, { credentials: [{ ...one, claims: [{ path: [-1] }] }] }, { credentials: [one], credential_sets: [{}] }]) {
    assert.throws(() => readQuery(bad), refusal("vp.query"), JSON.stringify(bad));
  }
});

const shop = (): RelyingService => new RelyingService(`${server.url}/verifier`, RELYING_KEY);
const ask = (asked: Query = query(), data: object[] = []): Promise<Asked> => shop().ask(asked, { crossDevice: true }, data);
const read = (link: string, by: Device = device): Promise<PresentationRequest> => PresentationRequest.read(by, link, ["purchase"]);

test("what is asked for is shown and no more", async () => {
  const asked = await ask();
  const request = await read(asked.authorizationRequest);
  assert.deepEqual([request.relying, request.discloses, request.agreesTo], ["shop", { kind: "browser" }, []]);
  assert.equal(await request.answer(), undefined);
  const told = await shop().outcome(asked.transaction);
  assert.ok(told.state === "answered");
  assert.deepEqual(told.credentials["device"]?.[0]?.claims, { kind: "browser" });
  await assert.rejects(request.answer(), refusal("vp.state"), "once");

  // In clear, with something to agree to, and back to the browser.
  const purchase = { type: "purchase", credential_ids: ["device"], amount: "12.00" };
  const body = JSON.stringify({ dcql_query: query(), response_mode: "direct_post", transaction_data: [purchase], redirect_uri: "https://shop.example/back" });
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const made = (await (await fetch(`${server.url}/verifier/v1/transactions`, { method: "POST", headers, body })).json()) as Record<string, string>;
  const second = await read(made["authorization_request"] ?? "");
  assert.deepEqual(second.agreesTo, [purchase]);
  const code = new URL((await second.answer()) ?? "").searchParams.get("response_code") ?? "";
  const agreed = await shop().outcome(made["transaction"] ?? "", code);
  assert.ok(agreed.state === "answered" && agreed.transaction_data.length === 1);
});

test("a terminal shows what is asked, and answers what is typed", async () => {
  const terminal = await Terminal.enrol(server, "Shell");
  for (const [typed, state] of [["yes", "answered"], ["no", "refused"]] as const) {
    const asked = await ask(query(), [{ type: "purchase", credential_ids: ["device"], amount: "12.00" }]);
    const said = await terminal.answers(asked.authorizationRequest, typed);
    for (const shown of ["shop asks", "kind: \"laptop\"", "\"amount\":\"12.00\""]) assert.ok(said.includes(shown), said);
    assert.equal((await shop().outcome(asked.transaction)).state, state);
  }
});

/** The device behind somebody who holds the verifier's keys, or sits before it. */
async function lied(): Promise<{ device: Device; lie: { change?: (claims: Members) => void; kid?: string; to?: Record<string, string> } }> {
  const own = new SoftKey(systemRandom(32));
  const lie: { change?: (claims: Members) => void; kid?: string; to?: Record<string, string> } = {};
  const did = `did:web:localhost%3A${new URL(server.url).port}:verifier`;
  const fetch: typeof around.fetch = async (input, init) => {
    const url = String(input);
    const elsewhere = Object.entries(lie.to ?? {}).find(([path]) => url.includes(path));
    if (elsewhere) return around.fetch(elsewhere[1], init);
    if (!lie.change) return around.fetch(input, init);
    if (url.endsWith("/verifier/jwks")) return Response.json({ keys: [{ ...own.public.jwk, kid: "own" }] });
    const answer = await around.fetch(input, init);
    if (!url.includes("/oid4vp/requests/")) return answer;
    const claims = JSON.parse(new TextDecoder().decode(decode((await answer.text()).split(".")[1] ?? ""))) as Members;
    lie.change(claims);
    const header = { alg: "ES256", typ: "oauth-authz-req+jwt", kid: lie.kid ?? `${did}#own` };
    const text = `${encode(JSON.stringify(header))}.${encode(JSON.stringify(claims))}`;
    return new Response(`${text}.${encode(own.sign(utf8(text)))}`, { status: answer.status });
  };
  const surroundings: Surroundings = { ...around, fetch };
  return { device: await restarted(device, new Http(surroundings)), lie };
}

test("KB-14: nothing goes to another address", async () => {
  let visits = 0;
  const elsewhere = createServer((_, answer) => {
    visits++;
    answer.end("{}");
  });
  let status = 302;
  const redirecting = createServer((_, answer) => answer.writeHead(status, { location: `${at(elsewhere)}/take` }).end());
  for (const one of [elsewhere, redirecting]) await new Promise<void>((resolve) => one.listen(0, "127.0.0.1", resolve));
  const at = (one: typeof elsewhere): string => `http://localhost:${(one.address() as AddressInfo).port}`;
  const verifier = `${server.url}/verifier`;
  try {
    const asked = await ask();
    const link = asked.authorizationRequest;
    const other = (from: string, to: string): string => {
      const changed = link.replace(encodeURIComponent(from), encodeURIComponent(to));
      assert.notEqual(changed, link);
      return changed;
    };
    const links = [
      other(`${verifier}/oid4vp/requests/`, `${at(elsewhere)}/`),
      other("http://localhost", "https://localhost"),
      other("/oid4vp/requests/", "/oid4vp/requests/../"),
      other("did:web:localhost", "did:web:evil.example"),
      other("decentralized_identifier:", "x509_hash:"),
      `${link}&client_id=another`,
      link.replace("openid4vp:", "https:"),
      "no link",
    ];
    for (const one of links) await assert.rejects(read(one), refusal("vp.request"), one);

    const { device: turned, lie } = await lied();
    const changes: [Members, string | undefined][] = [
      [{ x: "ignored" }, undefined],
      [{ response_uri: `${at(elsewhere)}/take` }, "vp.request"],
      [{ response_uri: `${verifier}/oid4vp/responses/../x` }, "vp.request"],
      [{ response_uri: 1 }, "vp.request"],
      [{ redirect_uri: at(elsewhere) }, "vp.request"],
      [{ client_id: "decentralized_identifier:did:web:evil.example" }, "vp.request"],
      [{ aud: "https://evil.example" }, "vp.request"],
      [{ wallet_nonce: "another" }, "vp.request"],
      [{ exp: 1 }, "vp.request"],
      [{ iat: 32_503_680_000 }, "vp.request"],
      [{ response_mode: "fragment" }, "vp.request"],
      [{ client_metadata: {} }, "vp.request"],
      [{ response_type: "code" }, "vp.request"],
      [{ nonce: 1 }, "vp.request"],
      [{ dcql_query: {} }, "vp.query"],
      [{ dcql_query: query([{ path: ["model"] }]) }, "vp.unmet"],
      [{ transaction_data: [encode(JSON.stringify({ type: "purchase", credential_ids: ["device"] }))] }, undefined],
      [{ transaction_data: [encode(JSON.stringify({ type: "transfer", credential_ids: ["device"] }))] }, "vp.request"],
      [{ transaction_data: [encode(JSON.stringify({ type: "baton.handoff", credential_ids: ["device"] }))] }, "vp.request"],
      [{ transaction_data: ["none"] }, "vp.request"],
    ];
    for (const [change, code] of changes) {
      lie.change = (claims) => Object.assign(claims, change);
      const outcome = read(link, turned);
      await (code ? assert.rejects(outcome, refusal(code), JSON.stringify(change)) : outcome);
    }
    [lie.change, lie.kid] = [() => undefined, `${server.url}#own`];
    await assert.rejects(read(link, turned), refusal("vp.request"), "another's key");
    delete lie.change;

    for (status of [301, 302, 303, 307, 308]) {
      lie.to = { "/oid4vp/requests/": at(redirecting) };
      await assert.rejects(read(link, turned), refusal("transport"), `${status}`);
      lie.to = {};
      const request = await read(link, turned);
      lie.to = { "/oid4vp/responses/": at(redirecting) };
      await assert.rejects(request.answer(), refusal("transport"), `${status}`);
    }
    assert.equal(visits, 0);
    lie.to = {};
    assert.equal((await shop().outcome(asked.transaction)).state, "waiting");
    await (await read(link, turned)).decline();
    assert.equal((await shop().outcome(asked.transaction)).state, "refused");
    await fetch(at(elsewhere));
    assert.equal(visits, 1, "had anybody come, it would have been seen");
  } finally {
    elsewhere.close();
    redirecting.close();
  }
});
