/** @openid4vc/openid4vci as a wallet: it takes an offer, proves its key, waits for its person, and gets a credential that others can read. */

import { Server } from "@baton/sdk/test-server";
import { HashAlgorithm, clientAuthenticationAnonymous, clientAuthenticationNone, setGlobalConfig, type CallbackContext, type Jwk, type RequestDpopOptions } from "@openid4vc/oauth2";
import { Openid4vciClient } from "@openid4vc/openid4vci";
import { SDJwtVcInstance } from "@sd-jwt/sd-jwt-vc";
import { CompactEncrypt, SignJWT, compactDecrypt, exportJWK, generateKeyPair, importJWK, type JWK } from "jose";
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { CLIENT, REDIRECT, visit } from "./support.js";

setGlobalConfig({ allowInsecureUrls: true });
let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

interface Wallet {
  client: Openid4vciClient;
  publicJwk: Jwk;
  /** The `notification_id` of a deferred answer. */
  notification: { id?: string };
}

/** This version of the library refuses a deferred answer that has `credentials` and `notification_id`, which §9.2 allows: it has the condition the wrong way round. */
function apart(notification: { id?: string }): typeof fetch {
  return async (input, init) => {
    const answer = (init as { opened?: Response } | undefined)?.opened ?? (await fetch(input, init));
    if (!String(input).endsWith("/deferred_credential") || answer.status !== 200) return answer;
    const { notification_id, ...rest } = (await answer.json()) as { notification_id?: string };
    if (notification_id !== undefined) notification.id = notification_id;
    return new Response(JSON.stringify(rest), answer);
  };
}

/** §10 by `jose`, on the way: the library has no part in it. What the wallet asks goes out sealed to the issuer, and what comes back is opened. */
async function sealing(inner: typeof fetch, seen: string[]): Promise<typeof fetch> {
  const metadata = (await (await fetch(`${server.url}/.well-known/openid-credential-issuer/identity`)).json()) as {
    credential_request_encryption: { jwks: { keys: JWK[] }; enc_values_supported: string[] };
  };
  const [jwk = assert.fail("no key")] = metadata.credential_request_encryption.jwks.keys;
  const own = await generateKeyPair("ECDH-ES", { crv: "P-256" });
  const to = { ...(await exportJWK(own.publicKey)), alg: "ECDH-ES", use: "enc", kid: "wallet" };
  return async (input, init) => {
    if (!/\/(deferred_)?credential$/.test(String(input))) return inner(input, init);
    const body = { ...(JSON.parse(String(init?.body)) as object), credential_response_encryption: { jwk: to, enc: "A256GCM" } };
    const header = { alg: "ECDH-ES", enc: "A128GCM", ...(jwk.kid === undefined ? {} : { kid: jwk.kid }) };
    const sealed = await new CompactEncrypt(Buffer.from(JSON.stringify(body))).setProtectedHeader(header).encrypt(await importJWK(jwk, "ECDH-ES"));
    const headers = new Headers(init?.headers);
    headers.set("content-type", "application/jwt");
    const answer = await fetch(input, { ...init, headers, body: sealed });
    if (!answer.ok) return answer;
    assert.equal(answer.headers.get("content-type"), "application/jwt");
    const { plaintext, protectedHeader } = await compactDecrypt(await answer.text(), own.privateKey);
    seen.push(`${answer.status} ${protectedHeader.enc} ${protectedHeader.kid}`);
    return inner(input, { ...init, opened: new Response(new TextDecoder().decode(plaintext), { status: answer.status, headers: { "content-type": "application/json" } }) } as RequestInit);
  };
}

async function wallet(seen?: string[], clientId?: string): Promise<Wallet> {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const publicJwk = (await exportJWK(publicKey)) as Jwk;
  const unused = (): never => assert.fail("not needed");
  const notification = {};
  const callbacks: CallbackContext = {
    fetch: seen ? await sealing(apart(notification), seen) : apart(notification),
    hash: (data, alg) => createHash(alg === HashAlgorithm.Sha256 ? "sha256" : assert.fail(alg)).update(data).digest(),
    generateRandom: (length) => randomBytes(length),
    signJwt: async (_signer, { header, payload }) => ({ jwt: await new SignJWT(payload).setProtectedHeader(header as { alg: string }).sign(privateKey), signerJwk: publicJwk }),
    verifyJwt: unused,
    encryptJwe: unused,
    decryptJwe: unused,
    clientAuthentication: clientId === undefined ? clientAuthenticationAnonymous() : clientAuthenticationNone({ clientId }),
  };
  return { client: new Openid4vciClient({ callbacks }), publicJwk, notification };
}

type IssuerMetadata = Awaited<ReturnType<Openid4vciClient["resolveIssuerMetadata"]>>;
interface Token {
  issuerMetadata: IssuerMetadata;
  accessToken: string;
  dpop?: RequestDpopOptions;
}

/** From the token to the credential: asked for, waited for, approved, fetched, and said to be there. */
async function fetchCredential({ client, publicJwk, notification }: Wallet, token: Token, credentialConfigurationId: string, typed: string): Promise<string> {
  const signer = { method: "jwk", alg: "ES256", publicJwk } as const;
  const { c_nonce: nonce } = await client.requestNonce(token);
  const { jwt } = await client.createCredentialRequestJwtProof({ ...token, credentialConfigurationId, signer, nonce, issuedAt: new Date() });
  const first = await client.retrieveCredentials({ ...token, credentialConfigurationId, proofs: { jwt: [jwt] } });
  const { transaction_id: transactionId, interval } = first.credentialResponse as { transaction_id?: string; interval?: number };
  assert.ok(transactionId !== undefined && interval === 5);
  const again = await client.retrieveDeferredCredentials({ ...token, transactionId });
  assert.equal((again.deferredCredentialResponse as { transaction_id?: string }).transaction_id, transactionId, "its person has not decided");
  await server.approveWaiting(typed);
  const { deferredCredentialResponse: issued } = await client.retrieveDeferredCredentials({ ...token, transactionId });
  const { credentials } = issued as { credentials?: { credential: string }[] };
  await client.sendNotification({ ...token, notification: { notificationId: notification.id ?? "", event: "credential_accepted" } });
  return credentials?.[0]?.credential ?? assert.fail("no credential");
}

/** The whole way from an offer's link to the credential. */
async function issue(mine: Wallet, link: string, txCode: string, withDpop: boolean): Promise<string> {
  const { client, publicJwk } = mine;
  const credentialOffer = await client.resolveCredentialOffer(link);
  const issuerMetadata = await client.resolveIssuerMetadata(credentialOffer.credential_issuer);
  assert.equal(issuerMetadata.credentialIssuer.credential_issuer, `${server.url}/identity`);
  const asked = withDpop ? { dpop: { signer: { method: "jwk", alg: "ES256", publicJwk } } as RequestDpopOptions } : {};
  const { accessTokenResponse, dpop } = await client.retrievePreAuthorizedCodeAccessTokenFromOffer({ credentialOffer, issuerMetadata, txCode, ...asked });
  assert.equal(accessTokenResponse.token_type, withDpop ? "DPoP" : "Bearer");
  const token = { issuerMetadata, accessToken: accessTokenResponse.access_token, ...(dpop ? { dpop } : {}) };
  return fetchCredential(mine, token, credentialOffer.credential_configuration_ids[0] ?? "", txCode);
}

test("an offer by reference, with DPoP; the credential is read by @sd-jwt/sd-jwt-vc", async () => {
  const { byReference, txCode } = await server.offer();
  const mine = await wallet();
  const credential = await issue(mine, byReference, txCode, true);
  const kinds: string[] = [];
  const reader = new SDJwtVcInstance({
    hasher: (data: string | ArrayBuffer, alg: string) => createHash(alg.replace("-", "")).update(typeof data === "string" ? data : new Uint8Array(data)).digest(),
    verifier: async (data: string, signature: string) => {
      const [head = "", body = ""] = data.split(".");
      const { kid, typ } = JSON.parse(Buffer.from(head, "base64url").toString()) as { kid: string; typ: string };
      kinds.push(typ);
      const { iss } = JSON.parse(Buffer.from(body, "base64url").toString()) as { iss: string };
      // The status list, which it fetches by itself, is the service's.
      const key = await importJWK(typ === "statuslist+jwt" ? await serviceKey(kid) : issuerKey(kid, iss), "ES256");
      return crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key as CryptoKey, Buffer.from(signature, "base64url"), Buffer.from(data));
    },
  });
  const { payload } = await reader.verify(credential);
  assert.deepEqual(kinds, ["dc+sd-jwt", "statuslist+jwt"]);
  const { cnf, vct, name, tier } = payload as { cnf?: { jwk?: Jwk }; vct?: string; name?: string; tier?: string };
  assert.deepEqual([vct, name, tier, cnf?.jwk?.x], ["urn:baton:vct:device-binding:1", "Wallet", "limited", mine.publicJwk.x]);
});

test("an offer by value, without DPoP; taken once", async () => {
  const { byValue, txCode } = await server.offer();
  await issue(await wallet(), byValue, txCode, false);
  await assert.rejects(issue(await wallet(), byValue, txCode, false), /invalid_grant/);
});

test("by authorization code, with the configuration's scope and with authorization_details", async () => {
  for (const by of ["scope", "authorization_details"] as const) {
    const mine = await wallet(undefined, CLIENT);
    const { client, publicJwk } = mine;
    const dpop = { signer: { method: "jwk", alg: "ES256", publicJwk } } as RequestDpopOptions;
    // Whoever makes it: it says no more than where to ask for what.
    const offer = { credential_issuer: `${server.url}/identity`, credential_configuration_ids: ["baton_device"], grants: { authorization_code: {} } };
    const ofNobody = `openid-credential-offer://?credential_offer=${encodeURIComponent(JSON.stringify(offer))}`;
    // And one that the person made, which the wallet takes by the code (`issuer_state`).
    const credentialOffer = await client.resolveCredentialOffer(by === "scope" ? (await server.offer()).byReference : ofNobody);
    const issuerMetadata = await client.resolveIssuerMetadata(credentialOffer.credential_issuer);
    const { baton_device: configuration } = issuerMetadata.credentialIssuer.credential_configurations_supported;
    const details = [{ type: "openid_credential", credential_configuration_id: "baton_device", unheard: "of" }];
    const what = by === "scope" ? { scope: configuration?.scope ?? assert.fail("no scope") } : { additionalRequestPayload: { authorization_details: JSON.stringify(details) } };
    const { authorizationRequestUrl, pkce } = await client.createAuthorizationRequestUrlFromOffer({ credentialOffer, issuerMetadata, clientId: CLIENT, redirectUri: REDIRECT, dpop, ...what });
    const back = await visit(server, new URL(authorizationRequestUrl));
    const { accessTokenResponse, dpop: next } = await client.retrieveAuthorizationCodeAccessTokenFromOffer({
      credentialOffer,
      issuerMetadata,
      authorizationCode: back.searchParams.get("code") ?? assert.fail(back.href),
      ...(pkce ? { pkceCodeVerifier: pkce.codeVerifier } : {}),
      redirectUri: REDIRECT,
      dpop,
    });
    const token = { issuerMetadata, accessToken: accessTokenResponse.access_token, dpop: next ?? dpop };
    if (by === "scope") {
      assert.match(await fetchCredential(mine, token, "baton_device", "yes"), /~$/);
    } else {
      // The library asks by the configuration alone; a token that names identifiers wants one of those (OpenID4VCI §8.2).
      const [given] = (accessTokenResponse.authorization_details ?? []) as { credential_identifiers?: string[] }[];
      assert.deepEqual(given?.credential_identifiers, ["baton_device"]);
      await assert.rejects(fetchCredential(mine, token, "baton_device", "yes"), /invalid_credential_request/);
    }
  }
});

test("requests and responses encrypted on the way (jose)", async () => {
  const { byReference, txCode } = await server.offer();
  const seen: string[] = [];
  assert.match(await issue(await wallet(seen), byReference, txCode, true), /~$/);
  assert.deepEqual(seen, ["202 A256GCM wallet", "202 A256GCM wallet", "200 A256GCM wallet"]);
});

/** The issuer is the person's own `did:key`. */
function issuerKey(kid: string, iss: string): JWK {
  assert.ok(kid.startsWith(`${iss}#`));
  return didKey(iss);
}

async function serviceKey(kid: string): Promise<JWK> {
  const { keys } = (await (await fetch(`${server.url}/identity/jwks`)).json()) as { keys: JWK[] };
  return keys.find((key) => key.kid === kid) ?? assert.fail(kid);
}

/** The public key of a P-256 `did:key`, by hand: this test trusts nothing of ours. */
function didKey(did: string): { kty: string; crv: string; x: string; y: string } {
  const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  const number = [...did.slice("did:key:z".length)].reduce((n, letter) => n * 58n + BigInt(alphabet.indexOf(letter)), 0n);
  const bytes = Buffer.from(number.toString(16).padStart(70, "0"), "hex");
  assert.deepEqual([...bytes.subarray(0, 2)], [0x80, 0x24]);
  const p = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
  const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
  const x = BigInt(`0x${bytes.subarray(3).toString("hex")}`);
  const power = (base: bigint, exponent: bigint): bigint => {
    let [result, square, rest] = [1n, base % p, exponent];
    for (; rest > 0n; rest >>= 1n) {
      if (rest & 1n) result = (result * square) % p;
      square = (square * square) % p;
    }
    return result;
  };
  const root = power((x ** 3n - 3n * x + b) % p, (p + 1n) / 4n);
  const y = (root & 1n) === BigInt((bytes[2] ?? 0) & 1) ? root : p - root;
  const text = (value: bigint): string => Buffer.from(value.toString(16).padStart(64, "0"), "hex").toString("base64url");
  return { kty: "EC", crv: "P-256", x: text(x), y: text(y) };
}
