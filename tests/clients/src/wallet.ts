/** @openid4vc/openid4vp and dcql as a holder's wallet, with a device of the SDK for its key. */

import type { Device } from "@baton/sdk";
import { HashAlgorithm, setGlobalConfig, type CallbackContext, type Jwk } from "@openid4vc/oauth2";
import { Openid4vpClient } from "@openid4vc/openid4vp";
import { DcqlQuery } from "dcql";
import { CompactEncrypt, importJWK, jwtVerify, type JWK } from "jose";
import assert from "node:assert/strict";
import { X509Certificate, createHash } from "node:crypto";

setGlobalConfig({ allowInsecureUrls: true });
export const VCT = "urn:baton:vct:device-binding:1";

/** `did:web` as its method has it: the key is looked up where the DID says. */
async function keyOf(didUrl: string): Promise<Jwk> {
  const [host = "", ...path] = (didUrl.split("#")[0] ?? "").slice("did:web:".length).split(":");
  const url = `http://${decodeURIComponent(host)}/${path.join("/")}/did.json`;
  const { verificationMethod } = (await (await fetch(url)).json()) as { verificationMethod: { id: string; publicKeyJwk: Jwk }[] };
  return verificationMethod.find(({ id }) => id === didUrl)?.publicKeyJwk ?? assert.fail(didUrl);
}

function certified(x5c: string[]): Jwk {
  const leaf = new X509Certificate(Buffer.from(x5c[0] ?? "", "base64"));
  return leaf.publicKey.export({ format: "jwk" }) as Jwk;
}

const unused = (): never => assert.fail("not needed");
const callbacks: Omit<CallbackContext, "generateRandom" | "clientAuthentication"> = {
  hash: (data, alg) => createHash(alg === HashAlgorithm.Sha256 ? "sha256" : assert.fail(alg)).update(data).digest(),
  signJwt: unused,
  // Whose certificate it is, the hash in the client id says; whether its authority is trusted is a wallet's own affair.
  getX509CertificateMetadata: () => ({ sanDnsNames: [], sanUriNames: [] }),
  verifyJwt: async (signer, { compact }) => {
    const signerJwk = signer.method === "x5c" ? certified(signer.x5c) : await keyOf((signer as { didUrl: string }).didUrl);
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

interface Answered {
  prefix: string;
  responseMode: unknown;
  status: number;
}

/** With what a device of the SDK can show. */
export async function answer(device: Device, link: string, known: Record<string, string>): Promise<Answered> {
  return answerBy(link, VCT, known, (audience, nonce) => device.present({ audience, nonce }, Object.keys(known)));
}

/** Fetches and checks the signed request, matches it against the one credential there is, and answers as it is asked to. */
export async function answerBy(link: string, vct: string, known: Record<string, string>, present: (audience: string, nonce: string) => Promise<string>, aki?: string): Promise<Answered> {
  const wallet = new Openid4vpClient({ callbacks });
  const { params } = wallet.parseOpenid4vpAuthorizationRequest({ authorizationRequest: link });
  const { authorizationRequestPayload, client, dcql } = await wallet.resolveOpenId4vpAuthorizationRequest({ authorizationRequestPayload: params });
  const responseMode = authorizationRequestPayload.response_mode;

  // The query is read, and matched, by dcql.
  const parsed = DcqlQuery.parse(dcql?.query as Parameters<typeof DcqlQuery.parse>[0]);
  DcqlQuery.validate(parsed);
  assert.ok(DcqlQuery.query(parsed, [{ credential_format: "dc+sd-jwt", vct, cryptographic_holder_binding: true, claims: known, ...(aki === undefined ? {} : { authority: { type: "aki", values: [aki] } }) }]).can_be_satisfied);

  const { nonce, client_id: audience } = authorizationRequestPayload as { nonce: string; client_id: string };
  const shown = await present(audience, nonce);
  const id = parsed.credentials[0]?.id ?? assert.fail("nothing is asked for");
  const response = await wallet.createOpenid4vpAuthorizationResponse({
    authorizationRequestPayload,
    authorizationResponsePayload: { vp_token: { [id]: [shown] } },
    ...(responseMode === "direct_post.jwt" ? { jarm: { encryption: { nonce: "n" }, serverMetadata: { authorization_signing_alg_values_supported: [], authorization_encryption_alg_values_supported: ["ECDH-ES"], authorization_encryption_enc_values_supported: ["A256GCM"] } } } : {}),
  });
  const sent = await wallet.submitOpenid4vpAuthorizationResponse({
    authorizationRequestPayload: authorizationRequestPayload as never,
    authorizationResponsePayload: response.authorizationResponsePayload,
    ...(response.jarm ? { jarm: response.jarm } : {}),
  });
  return { prefix: client.prefix, responseMode, status: sent.response.status };
}
