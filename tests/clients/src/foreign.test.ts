/** Credentials that nobody here issued (Digital Bazaar's libraries, did-jwt-vc), verified by VC-API as a relying service does. */

import { DataIntegrityProof } from "@digitalbazaar/data-integrity";
import * as ecdsa from "@digitalbazaar/ecdsa-multikey";
import { cryptosuite as ecdsaRdfc2019 } from "@digitalbazaar/ecdsa-rdfc-2019-cryptosuite";
import * as ed25519 from "@digitalbazaar/ed25519-multikey";
import { cryptosuite as eddsaRdfc2022 } from "@digitalbazaar/eddsa-rdfc-2022-cryptosuite";
import * as vc from "@digitalbazaar/vc";
import { RELYING_KEY, Server } from "@baton/sdk/test-server";
import { SDJwtVcInstance } from "@sd-jwt/sd-jwt-vc";
import { ES256Signer } from "did-jwt";
import { createVerifiableCredentialJwt, createVerifiablePresentationJwt } from "did-jwt-vc";
import { exportJWK, generateKeyPair, type JWK } from "jose";
import assert from "node:assert/strict";
import { KeyObject, createHash, randomBytes, sign } from "node:crypto";
import { after, before, test } from "node:test";

const { defaultDocumentLoader: documentLoader } = vc;

interface Issuer {
  did: string;
  suite: object;
}

async function issuer(key: ecdsa.KeyPair, cryptosuite: object): Promise<Issuer> {
  const { publicKeyMultibase } = await key.export({ publicKey: true });
  key.controller = `did:key:${publicKeyMultibase}`;
  key.id = `${key.controller}#${publicKeyMultibase}`;
  return { did: key.controller, suite: new DataIntegrityProof({ signer: key.signer(), cryptosuite }) };
}

interface Jwts {
  privateKey: CryptoKey;
  publicJwk: JWK;
  did: string;
  alg: string;
  signer: ReturnType<typeof ES256Signer>;
  kid: string;
}

async function jwts(): Promise<Jwts> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const { kty = "", crv = "", x = "", y = "" } = await exportJWK(publicKey);
  const did = `did:jwk:${Buffer.from(JSON.stringify({ kty, crv, x, y })).toString("base64url")}`;
  const { d = "" } = await exportJWK(privateKey);
  return { privateKey, publicJwk: { kty, crv, x, y }, did, alg: "ES256", signer: ES256Signer(Buffer.from(d, "base64url")), kid: `${did}#0` };
}

let server: Server;
let [p256, ed]: Issuer[] = [];
let byJwt: Jwts;
before(async () => {
  p256 = await issuer(await ecdsa.generate({ curve: "P-256" }), ecdsaRdfc2019);
  ed = await issuer(await ed25519.generate(), eddsaRdfc2022);
  byJwt = await jwts();
  const trusted = [p256, ed, byJwt].map(({ did }) => `[[issuer]]\nid = "${did}"\ntypes = ["https://x.example/alumni"]\nalgorithms = ["ES256", "EdDSA", "ecdsa-rdfc-2019", "eddsa-rdfc-2022"]\n`);
  server = await Server.start({ trustPolicy: trusted.join("") });
});
after(() => server.stop());

interface Report {
  verified: boolean;
  subject?: { id?: string };
  checks: { check: string; ok: boolean; reason?: string }[];
  credentials?: Report[];
}

async function ask(path: string, body: object): Promise<[number, Report]> {
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const answer = await fetch(`${server.url}/verifier${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  return [answer.status, (await answer.json()) as Report];
}

async function refused(path: string, body: object, check: string): Promise<void> {
  const [status, report] = await ask(path, body);
  const last = report.checks.at(-1);
  assert.deepEqual([status, report.verified, last?.check, last?.ok], [400, false, check, false], JSON.stringify(report));
}

const subject = "did:example:ebfeb1f712ebc6f1c276e12ec21";

function credential(by: string): object {
  return { "@context": ["https://www.w3.org/ns/credentials/v2"], id: "urn:uuid:36245ee9-9074-4b05-a777-febff2e69757", type: ["VerifiableCredential"], issuer: by, name: "Alumni", credentialSubject: { id: subject } };
}

test("Data Integrity by Digital Bazaar's libraries, both suites", async () => {
  for (const by of [p256, ed]) {
    assert.ok(by);
    const signed = await vc.issue({ credential: credential(by.did), suite: by.suite, documentLoader });
    const [status, report] = await ask("/credentials/verify", { verifiableCredential: signed, options: { unheard: "of" } });
    assert.deepEqual([status, report.verified, report.subject?.id], [200, true, subject], JSON.stringify(report));
    await refused("/credentials/verify", { verifiableCredential: { ...signed, name: "Other" } }, "proof");
    await refused("/credentials/verify", { verifiableCredential: { ...signed, issuer: "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv" } }, "policy");

    const presentation = vc.createPresentation({ verifiableCredential: [await vc.issue({ credential: { ...credential(by.did), credentialSubject: { id: by.did } }, suite: by.suite, documentLoader })], holder: by.did, version: 2 });
    const shown = await vc.signPresentation({ presentation, suite: by.suite, challenge: "n-1", domain: "https://shop.example", documentLoader });
    const here = { challenge: "n-1", domain: "https://shop.example" };
    const [shownStatus, shownReport] = await ask("/presentations/verify", { verifiablePresentation: shown, options: here });
    assert.deepEqual([shownStatus, shownReport.verified, shownReport.credentials?.length], [200, true, 1], JSON.stringify(shownReport));
    await refused("/presentations/verify", { verifiablePresentation: shown, options: { ...here, challenge: "n-2" } }, "occasion");
  }
});

test("VCDM 1.1 as JWT by did-jwt-vc", async () => {
  const header = { alg: "ES256", kid: byJwt.kid, typ: "JWT" } as const;
  const content = { "@context": ["https://www.w3.org/2018/credentials/v1"], type: ["VerifiableCredential"], credentialSubject: { degree: "x" } };
  const jwt = await createVerifiableCredentialJwt({ sub: byJwt.did, nbf: Math.floor(Date.now() / 1000) - 60, vc: content }, byJwt, { header });
  const [status, report] = await ask("/credentials/verify", { verifiableCredential: jwt });
  assert.deepEqual([status, report.verified, report.subject?.id], [200, true, byJwt.did], JSON.stringify(report));
  const vp = { "@context": ["https://www.w3.org/2018/credentials/v1"], type: ["VerifiablePresentation"], verifiableCredential: [jwt] };
  const shown = await createVerifiablePresentationJwt({ vp, nonce: "n-1", aud: "https://shop.example" }, byJwt, { header });
  const here = { challenge: "n-1", domain: "https://shop.example" };
  const [shownStatus, shownReport] = await ask("/presentations/verify", { verifiablePresentation: shown, options: here });
  assert.deepEqual([shownStatus, shownReport.verified], [200, true], JSON.stringify(shownReport));
  await refused("/presentations/verify", { verifiablePresentation: shown, options: { ...here, domain: "https://other.example" } }, "occasion");
  const stranger = await jwts();
  const theirs = await createVerifiableCredentialJwt({ sub: byJwt.did, nbf: 1, vc: content }, stranger, { header: { ...header, kid: stranger.kid } });
  await refused("/credentials/verify", { verifiableCredential: theirs }, "policy");
  const pretended = await createVerifiableCredentialJwt({ sub: byJwt.did, nbf: 1, vc: content }, { ...stranger, did: byJwt.did }, { header });
  await refused("/credentials/verify", { verifiableCredential: pretended }, "proof");
});

test("an SD-JWT VC by @sd-jwt/sd-jwt-vc, shown by its holder", async () => {
  const holder = await jwts();
  const signer = (key: CryptoKey) => async (data: string): Promise<string> =>
    sign("sha256", Buffer.from(data), { key: KeyObject.from(key), dsaEncoding: "ieee-p1363" }).toString("base64url");
  const library = new SDJwtVcInstance({
    signer: signer(byJwt.privateKey),
    signAlg: "ES256",
    kbSigner: signer(holder.privateKey),
    kbSignAlg: "ES256",
    hasher: (data: string | ArrayBuffer) => createHash("sha256").update(typeof data === "string" ? data : new Uint8Array(data)).digest(),
    hashAlg: "sha-256",
    saltGenerator: (length: number) => randomBytes(length).toString("base64url"),
  });
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: byJwt.did, vct: "https://x.example/alumni", iat: now, cnf: { jwk: holder.publicJwk }, degree: "x", grade: 1 };
  const issued = await library.issue(claims as Parameters<typeof library.issue>[0], { _sd: ["degree", "grade"] } as never, { header: { kid: byJwt.kid } });
  const [status, report] = await ask("/credentials/verify", { verifiableCredential: issued });
  assert.deepEqual([status, report.subject], [200, { degree: "x", grade: 1 }], JSON.stringify(report));
  const shown = await library.present(issued, { degree: true } as never, { kb: { payload: { iat: now, nonce: "a nonce", aud: "https://shop.example" } } });
  const options = { challenge: "a nonce", domain: "https://shop.example" };
  const [shownStatus, shownReport] = await ask("/presentations/verify", { verifiablePresentation: shown, options });
  assert.deepEqual([shownStatus, shownReport.subject], [200, { degree: "x" }], JSON.stringify(shownReport));
  await refused("/presentations/verify", { verifiablePresentation: shown, options: { ...options, challenge: "another" } }, "holder");
  await refused("/presentations/verify", { verifiablePresentation: issued, options }, "holder");
});

test("what a development build issues is read by Digital Bazaar's libraries, and trusted by nobody's silence", async () => {
  const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
  const issue = (body: object): Promise<Response> => fetch(`${server.url}/verifier/credentials/issue`, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await issue({ credential: credential("https://whoever.example") });
  const { verifiableCredential: signed } = (await answer.json()) as { verifiableCredential: { issuer: string; proof: { verificationMethod: string } } };
  assert.equal(answer.status, 201);
  const suite = new DataIntegrityProof({ cryptosuite: ecdsaRdfc2019 });
  // did:key as its method has it.
  const multibase = signed.issuer.slice("did:key:".length);
  const method = { "@context": "https://w3id.org/security/multikey/v1", id: `${signed.issuer}#${multibase}`, type: "Multikey", controller: signed.issuer, publicKeyMultibase: multibase };
  const controller = { "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"], id: signed.issuer, verificationMethod: [method], assertionMethod: [method.id] };
  const known: Record<string, object> = { [method.id]: method, [signed.issuer]: controller };
  const loader = async (url: string): Promise<object> => (known[url] ? { documentUrl: url, document: known[url] } : documentLoader(url));
  const verified = await vc.verifyCredential({ credential: signed, suite, documentLoader: loader });
  assert.ok(verified.verified, JSON.stringify(verified));
  assert.ok(!(await vc.verifyCredential({ credential: { ...signed, name: "Other" }, suite, documentLoader: loader })).verified);
  await refused("/credentials/verify", { verifiableCredential: signed }, "policy");
  assert.equal((await issue({ credential: { type: "x" } })).status, 400);
});
