/** Issuers with hosts of their own: keys by did:web, status lists made by libraries that nobody here wrote. */

import { DataIntegrityProof } from "@digitalbazaar/data-integrity";
import * as ecdsa from "@digitalbazaar/ecdsa-multikey";
import { cryptosuite } from "@digitalbazaar/ecdsa-rdfc-2019-cryptosuite";
import * as vc from "@digitalbazaar/vc";
import { createCredential, createList } from "@digitalbazaar/vc-bitstring-status-list";
import { RELYING_KEY, Server } from "@baton/sdk/test-server";
import { StatusList, createHeaderAndPayload } from "@sd-jwt/jwt-status-list";
import { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair } from "jose";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { Authority } from "./certificates.js";
import { Host } from "./host.js";
import { answerBy } from "./wallet.js";

const { defaultDocumentLoader: documentLoader } = vc;
const TYPE = "https://x.example/alumni";
const CERTIFIED = "https://uni.example/certified";

let host: Host;
let server: Server;
let did: string;
let metadata: string;
let authority: Authority;
before(async () => {
  host = await Host.start();
  did = `did:web:${encodeURIComponent(host.name)}:issuer`;
  metadata = `https://${host.name}/tenant`;
  const rest = `types = ["${TYPE}"]\nalgorithms = ["ES256", "ecdsa-rdfc-2019"]\nstatus = ["https://${host.name}/status/"]\n`;
  authority = await Authority.make();
  const certified = `[[issuer]]\nid = "${CERTIFIED}"\ntypes = ["${TYPE}"]\nalgorithms = ["ES256"]\nroots = """\n${authority.root}"""\n`;
  const issuers = [did, metadata, `${metadata}/two`].map((id) => `[[issuer]]\nid = "${id}"\n${rest}`);
  server = await Server.start({ trustPolicy: issuers.join("") + host.policy + certified });
});
after(async () => {
  await server.stop();
  host.stop();
});

async function check(credential: object | string): Promise<string> {
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${server.url}/verifier/credentials/verify`, { method: "POST", headers, body: JSON.stringify({ verifiableCredential: credential }) });
  const report = (await answer.json()) as { verified: boolean; checks: { ok: boolean; check: string; reason?: string }[] };
  const failed = report.checks.find(({ ok }) => !ok);
  assert.equal(report.verified, failed === undefined, JSON.stringify(report));
  return failed === undefined ? "verified" : `${failed.check}: ${failed.reason ?? ""}`;
}

interface Asked {
  transaction: string;
  authorization_request: string;
}

/** Asks for a degree, by this part of a query. */
async function ask(part: object): Promise<Asked> {
  const query = { credentials: [{ id: "degree", format: "dc+sd-jwt", meta: { vct_values: [TYPE] }, ...part }] };
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const made = await fetch(`${server.url}/verifier/v1/transactions`, { method: "POST", headers, body: JSON.stringify({ dcql_query: query, cross_device: true }) });
  return (await made.json()) as Asked;
}

async function result(transaction: string): Promise<Record<string, unknown>> {
  const answer = await fetch(`${server.url}/verifier/v1/transactions/${transaction}`, { headers: { authorization: `Bearer ${RELYING_KEY}` } });
  return (await answer.json()) as Record<string, unknown>;
}

/** What a wallet shows of what was issued to this key. */
async function bound(issued: string, audience: string, nonce: string, key: CryptoKey): Promise<string> {
  const sd_hash = createHash("sha256").update(issued).digest("base64url");
  const claims = { nonce, aud: audience, iat: Math.floor(Date.now() / 1000), sd_hash };
  return issued + (await new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "kb+jwt" }).sign(key));
}

test("Data Integrity by did:web, with a Bitstring Status List by Digital Bazaar's library", async () => {
  const key = await ecdsa.generate({ curve: "P-256" });
  const { publicKeyMultibase } = await key.export({ publicKey: true });
  [key.controller, key.id] = [did, `${did}#key`];
  const method = { id: key.id, type: "Multikey", controller: did, publicKeyMultibase };
  host.documents.set("/issuer/did.json", JSON.stringify({ "@context": ["https://www.w3.org/ns/did/v1"], id: did, verificationMethod: [method], assertionMethod: [key.id] }));
  const suite = new DataIntegrityProof({ signer: key.signer(), cryptosuite });
  const issue = (credential: object): Promise<object> => vc.issue({ credential: { ...credential, issuer: did }, suite, documentLoader });

  const url = `https://${host.name}/status/revoked`;
  const list = await createList({ length: 131072 });
  list.setStatus(94567, true);
  host.documents.set("/status/revoked", JSON.stringify(await issue(await createCredential({ id: url, list, statusPurpose: "revocation" }))));
  const credential = (index: number, statusListCredential = url): Promise<object> =>
    issue({
      "@context": ["https://www.w3.org/ns/credentials/v2"],
      id: "urn:uuid:36245ee9-9074-4b05-a777-febff2e69757",
      type: ["VerifiableCredential"],
      credentialSubject: { id: "did:example:ebfeb1f712ebc6f1c276e12ec21" },
      credentialStatus: { id: `${url}#${index}`, type: "BitstringStatusListEntry", statusPurpose: "revocation", statusListIndex: `${index}`, statusListCredential },
    });
  assert.equal(await check(await credential(94566)), "verified");
  assert.equal(await check(await credential(94567)), "status: it was revoked");
  assert.equal(await check(await credential(94566, `https://${host.name}/elsewhere`)), "status: its status cannot be looked up");
  assert.deepEqual(host.asked, ["/issuer/did.json", "/status/revoked"], "each once, and nothing that the policy does not name");
});

test("an SD-JWT VC by the issuer's metadata, with a Token Status List by @sd-jwt/jwt-status-list", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "one", use: "sig" }] };
  host.documents.set("/.well-known/jwt-vc-issuer/tenant", JSON.stringify({ issuer: metadata, jwks }));
  const now = Math.floor(Date.now() / 1000);
  const uri = `https://${host.name}/status/tokens`;
  const { header, payload } = createHeaderAndPayload(new StatusList([0, 1, 2, 0], 2), { iss: metadata, sub: uri, iat: now, exp: now + 600, ttl: 300 }, { alg: "ES256", typ: "statuslist+jwt", kid: "one" });
  host.documents.set("/status/tokens", await new SignJWT({ ...payload }).setProtectedHeader(header).sign(privateKey));
  const credential = async (idx: number, kid = "one"): Promise<string> => {
    const claims = { iss: metadata, vct: TYPE, iat: now, degree: "x", status: { status_list: { idx, uri } } };
    return `${await new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "dc+sd-jwt", kid }).sign(privateKey)}~`;
  };
  assert.equal(await check(await credential(0)), "verified");
  assert.equal(await check(await credential(1)), "status: it was revoked");
  assert.equal(await check(await credential(2)), "status: it is suspended");
  assert.equal(await check(await credential(4)), "status: its status list has no such entry");
  assert.equal(await check(await credential(0, "two")), "key: the issuer has no such key, or several");
});

test("the same in a wallet, which answers an OpenID4VP request (@openid4vc/openid4vp, dcql)", async () => {
  const [issuer, holder] = [await generateKeyPair("ES256"), await generateKeyPair("ES256")];
  const jwk = await exportJWK(holder.publicKey);
  const tenant = `${metadata}/two`;
  host.documents.set("/.well-known/jwt-vc-issuer/tenant/two", JSON.stringify({ issuer: tenant, jwks: { keys: [await exportJWK(issuer.publicKey)] } }));
  const now = Math.floor(Date.now() / 1000);
  const list = createHeaderAndPayload(new StatusList([0, 1], 1), { iss: tenant, sub: `https://${host.name}/status/two`, iat: now, exp: now + 600 }, { alg: "ES256", typ: "statuslist+jwt" });
  host.documents.set("/status/two", await new SignJWT({ ...list.payload }).setProtectedHeader(list.header).sign(issuer.privateKey));
  const show = async (idx: number, audience: string, nonce: string): Promise<string> => {
    const claims = { iss: tenant, vct: TYPE, iat: now, degree: "x", cnf: { jwk }, status: { status_list: { idx, uri: `https://${host.name}/status/two` } } };
    const issued = `${await new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "dc+sd-jwt" }).sign(issuer.privateKey)}~`;
    return bound(issued, audience, nonce, holder.privateKey);
  };
  const good = await ask({ claims: [{ path: ["degree"], values: ["x"] }] });
  assert.equal((await answerBy(good.authorization_request, TYPE, { degree: "x" }, (audience, nonce) => show(0, audience, nonce))).status, 200);
  const { state, credentials } = (await result(good.transaction)) as { state: string; credentials: Record<string, { issuer: string; vct: string; jkt: string; claims: object }[]> };
  const [told] = credentials["degree"] ?? [];
  assert.deepEqual([state, told?.issuer, told?.vct, told?.claims, told?.jkt], ["answered", tenant, TYPE, { degree: "x" }, await calculateJwkThumbprint(jwk)]);
  // Revoked; shown for another request; and with another value than was asked for.
  for (const present of [
    (audience: string, nonce: string): Promise<string> => show(1, audience, nonce),
    (audience: string): Promise<string> => show(0, audience, "another nonce"),
    (_: string, nonce: string): Promise<string> => show(0, "https://elsewhere.example", nonce),
    async (audience: string, nonce: string): Promise<string> => (await show(0, audience, nonce)).replace(/~.*$/, "~"),
  ]) {
    const asked = await ask({ claims: [{ path: ["degree"], values: ["x"] }] });
    assert.equal((await answerBy(asked.authorization_request, TYPE, { degree: "x" }, present)).status, 400);
    assert.equal((await result(asked.transaction))["state"], "waiting");
  }
  const other = await ask({ claims: [{ path: ["degree"], values: ["y"] }] });
  assert.equal((await answerBy(other.authorization_request, TYPE, { degree: "y" }, (audience, nonce) => show(0, audience, nonce))).status, 400);
});

test("an issuer known by a certificate, under an authority that the query trusts (x5c, aki)", async () => {
  const [issuer, holder] = [await generateKeyPair("ES256"), await generateKeyPair("ES256")];
  const leaf = await authority.certify(issuer.publicKey, [CERTIFIED]);
  const x5c = [Buffer.from(leaf.rawData).toString("base64")];
  const claims = { iss: CERTIFIED, vct: TYPE, iat: Math.floor(Date.now() / 1000), degree: "x", cnf: { jwk: await exportJWK(holder.publicKey) } };
  const issued = `${await new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "dc+sd-jwt", x5c }).sign(issuer.privateKey)}~`;
  const show = (audience: string, nonce: string): Promise<string> => bound(issued, audience, nonce, holder.privateKey);
  const answered = async (aki: string): Promise<unknown[]> => {
    const asked = await ask({ trusted_authorities: [{ type: "aki", values: [aki] }] });
    const { status } = await answerBy(asked.authorization_request, TYPE, { degree: "x" }, show, aki);
    return [status, (await result(asked.transaction))["state"]];
  };
  assert.deepEqual(await answered(authority.aki), [200, "answered"]);
  assert.deepEqual(await answered((await Authority.make()).aki), [400, "waiting"], "another authority");
});
