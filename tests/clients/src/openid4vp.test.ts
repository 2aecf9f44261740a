/** @openid4vc/openid4vp and dcql as a holder's wallet: it fetches and checks the signed request, matches it, and answers in both response modes. */

import { Http, enrolElsewhere, serversAt, type Asking, type Device } from "@baton/sdk";
import { RELYING_KEY, Server, hurried } from "@baton/sdk/test-server";
import { HashAlgorithm, setGlobalConfig, type CallbackContext, type Jwk } from "@openid4vc/oauth2";
import { Openid4vpClient } from "@openid4vc/openid4vp";
import { DcqlQuery } from "dcql";
import { CompactEncrypt, importJWK, jwtVerify, type JWK } from "jose";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { CLIENT } from "./support.js";

setGlobalConfig({ allowInsecureUrls: true });
const VCT = "urn:baton:vct:device-binding:1";
let server: Server;
let device: Device;
before(async () => {
  server = await Server.start();
  const asking: Asking = { http: new Http(hurried), servers: serversAt(server.url), clientId: CLIENT, claims: { name: "Television", kind: "tv" }, scope: "session:read" };
  const asked = await enrolElsewhere(asking);
  await server.approve(asked.userCode, asked.checkCode);
  device = await asked.redeem();
});
after(() => server.stop());

const relying = async <T>(method: "GET" | "POST", path: string, body?: object): Promise<T> => {
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${server.url}/verifier/v1${path}`, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  assert.ok(answer.ok, await answer.clone().text());
  return (await answer.json()) as T;
};

/** `did:web` as its method has it: the key is looked up where the DID says. */
async function keyOf(didUrl: string): Promise<Jwk> {
  const [host = "", ...path] = (didUrl.split("#")[0] ?? "").slice("did:web:".length).split(":");
  const url = `http://${decodeURIComponent(host)}/${path.join("/")}/did.json`;
  const { verificationMethod } = (await (await fetch(url)).json()) as { verificationMethod: { id: string; publicKeyJwk: Jwk }[] };
  return verificationMethod.find(({ id }) => id === didUrl)?.publicKeyJwk ?? assert.fail(didUrl);
}

const unused = (): never => assert.fail("not needed");
const callbacks: Omit<CallbackContext, "generateRandom" | "clientAuthentication"> = {
  hash: (data, alg) => createHash(alg === HashAlgorithm.Sha256 ? "sha256" : assert.fail(alg)).update(data).digest(),
  signJwt: unused,
  verifyJwt: async (signer, { compact }) => {
    assert.equal(signer.method, "did");
    const signerJwk = await keyOf((signer as { didUrl: string }).didUrl);
    await jwtVerify(compact, await importJWK(signerJwk as JWK, "ES256"), { typ: "oauth-authz-req+jwt" });
    return { verified: true, signerJwk };
  },
  encryptJwe: async ({ publicJwk, alg, enc, apu, apv }, data) => {
    const sealing = new CompactEncrypt(new TextEncoder().encode(data)).setProtectedHeader({ alg, enc, ...(publicJwk.kid ? { kid: publicJwk.kid } : {}) });
    if (apu !== undefined) sealing.setKeyManagementParameters({ apu: Buffer.from(apu, "base64url"), apv: Buffer.from(apv ?? "", "base64url") });
    return { jwe: await sealing.encrypt(await importJWK(publicJwk as JWK, alg)), encryptionJwk: publicJwk };
  },
  decryptJwe: unused,
};

for (const responseMode of ["direct_post", "direct_post.jwt"] as const) {
  test(`a wallet answers by ${responseMode}`, async () => {
    const query = { credentials: [{ id: "device", format: "dc+sd-jwt", meta: { vct_values: [VCT] }, claims: [{ path: ["kind"], values: ["tv", "phone"] }] }] };
    const made = await relying<{ transaction: string; authorization_request: string }>("POST", "/transactions", { dcql_query: query, response_mode: responseMode, cross_device: true });
    const wallet = new Openid4vpClient({ callbacks });
    const { params } = wallet.parseOpenid4vpAuthorizationRequest({ authorizationRequest: made.authorization_request });
    const resolved = await wallet.resolveOpenId4vpAuthorizationRequest({ authorizationRequestPayload: params });
    assert.deepEqual([resolved.client.prefix, resolved.authorizationRequestPayload.response_mode], ["decentralized_identifier", responseMode]);

    // The query is read, and matched, by dcql.
    const parsed = DcqlQuery.parse(resolved.dcql?.query as Parameters<typeof DcqlQuery.parse>[0]);
    DcqlQuery.validate(parsed);
    const matched = DcqlQuery.query(parsed, [{ credential_format: "dc+sd-jwt", vct: VCT, cryptographic_holder_binding: true, claims: { kind: "tv" } }]);
    assert.ok(matched.can_be_satisfied);

    const { nonce, client_id: audience } = resolved.authorizationRequestPayload as { nonce: string; client_id: string };
    const shown = await device.present({ audience, nonce }, ["kind"]);
    const response = await wallet.createOpenid4vpAuthorizationResponse({
      authorizationRequestPayload: resolved.authorizationRequestPayload,
      authorizationResponsePayload: { vp_token: { device: [shown] } },
      ...(responseMode === "direct_post.jwt" ? { jarm: { encryption: { nonce: "n" }, serverMetadata: { authorization_signing_alg_values_supported: [], authorization_encryption_alg_values_supported: ["ECDH-ES"], authorization_encryption_enc_values_supported: ["A256GCM"] } } } : {}),
    });
    const sent = await wallet.submitOpenid4vpAuthorizationResponse({
      authorizationRequestPayload: resolved.authorizationRequestPayload as never,
      authorizationResponsePayload: response.authorizationResponsePayload,
      ...(response.jarm ? { jarm: response.jarm } : {}),
    });
    assert.equal(sent.response.status, 200, await sent.response.clone().text());
    const result = await relying<{ state: string; credentials: Record<string, { device: string; claims: object; tier: string }[]> }>("GET", `/transactions/${made.transaction}`);
    const [verdict] = result.credentials["device"] ?? [];
    assert.deepEqual([result.state, verdict?.device, verdict?.claims, verdict?.tier], ["answered", device.did, { kind: "tv" }, "limited"]);
  });
}
