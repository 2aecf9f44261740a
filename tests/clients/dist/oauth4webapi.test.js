/** oauth4webapi against identity and verifier: every message is made and read by a client that nobody here wrote. */
import { Device, Http, generateDeviceKeys, serversAt } from "@baton/sdk";
import { Server, hurried } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SignJWT, exportJWK } from "jose";
import * as oauth from "oauth4webapi";
import { CLIENT, REDIRECT, visit } from "./support.js";
let server;
let as;
const client = { client_id: CLIENT };
const insecure = { [oauth.allowInsecureRequests]: true };
before(async () => {
    server = await Server.start();
    const issuer = new URL(`${server.url}/identity`);
    as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }));
});
after(() => server.stop());
/** Asks; when the server wants a nonce, the handle has learnt it by then, and the second try carries it. */
async function twice(ask) {
    try {
        return await ask();
    }
    catch (error) {
        if (!oauth.isDPoPNonceError(error))
            throw error;
        return ask();
    }
}
async function signIn(DPoP, one = client, scope = "openid") {
    const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()];
    const code_challenge = await oauth.calculatePKCECodeChallenge(verifier);
    const parameters = { response_type: "code", redirect_uri: REDIRECT, scope, code_challenge, code_challenge_method: "S256", state, nonce };
    const pushed = await twice(async () => oauth.processPushedAuthorizationResponse(as, one, await oauth.pushedAuthorizationRequest(as, one, oauth.None(), parameters, { DPoP, ...insecure })));
    const url = new URL(as.authorization_endpoint ?? "");
    url.search = new URLSearchParams({ client_id: one.client_id, request_uri: pushed.request_uri }).toString();
    const parametersBack = oauth.validateAuthResponse(as, one, await visit(server, url), state);
    return twice(async () => {
        const answer = await oauth.authorizationCodeGrantRequest(as, one, oauth.None(), parametersBack, REDIRECT, verifier, { DPoP, ...insecure });
        return oauth.processAuthorizationCodeResponse(as, one, answer, { expectedNonce: nonce, requireIdToken: true });
    });
}
async function proof({ privateKey, publicKey }, htm, htu, nonce) {
    const { crv, kty, x, y } = await exportJWK(publicKey);
    const claims = { htm, htu, jti: crypto.randomUUID(), ...(nonce === undefined ? {} : { nonce }) };
    return new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "dpop+jwt", jwk: { crv, kty, x, y } }).setIssuedAt().sign(privateKey);
}
test("discovery by both rules gives the same, byte-exact issuer", async () => {
    const issuer = new URL(`${server.url}/identity`);
    const oidc = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oidc", ...insecure }));
    assert.deepEqual(oidc, as);
    assert.equal(as.issuer, `${server.url}/identity`);
    assert.deepEqual([as.code_challenge_methods_supported, as.authorization_response_iss_parameter_supported], [["S256"], true]);
});
test("PAR, code, PKCE and DPoP with nonces; ID token, userinfo, refresh rotation, revocation", async () => {
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
    const tokens = await signIn(DPoP);
    const claims = oauth.getValidatedIdTokenClaims(tokens);
    assert.ok(claims && tokens.refresh_token && tokens.token_type === "dpop");
    const info = async (token) => twice(async () => oauth.processUserInfoResponse(as, client, claims.sub, await oauth.userInfoRequest(as, client, token, { DPoP, ...insecure })));
    assert.equal((await info(tokens.access_token)).sub, claims.sub);
    const refresh = async (token) => twice(async () => oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, oauth.None(), token, { DPoP, ...insecure })));
    const next = await refresh(tokens.refresh_token);
    assert.notEqual(next.refresh_token, tokens.refresh_token);
    assert.equal(oauth.getValidatedIdTokenClaims(next)?.sub, claims.sub);
    await info(next.access_token);
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), next.refresh_token ?? "", insecure));
    await assert.rejects(refresh(next.refresh_token ?? ""), (error) => error instanceof oauth.ResponseBodyError && error.error === "invalid_grant");
    await assert.rejects(info(next.access_token), oauth.WWWAuthenticateChallengeError);
    // Another sign-in of the same person is the same subject; another key cannot use its tokens.
    const again = await signIn(DPoP);
    assert.equal(oauth.getValidatedIdTokenClaims(again)?.sub, claims.sub);
    const thief = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
    const stolen = twice(async () => oauth.processUserInfoResponse(as, client, claims.sub, await oauth.userInfoRequest(as, client, again.access_token, { DPoP: thief, ...insecure })));
    await assert.rejects(stolen, oauth.WWWAuthenticateChallengeError);
});
test("a client registers itself by RFC 7591, and signs its person in under a name of its own", async () => {
    const registered = await oauth.processDynamicClientRegistrationResponse(await oauth.dynamicClientRegistrationRequest(as, { redirect_uris: ["http://127.0.0.1/callback"], client_name: "Another app", token_endpoint_auth_method: "none" }, insecure));
    assert.match(registered.client_id, /^cli_/);
    const subject = async (one) => {
        const DPoP = oauth.DPoP(one, await oauth.generateKeyPair("ES256"));
        return oauth.getValidatedIdTokenClaims(await signIn(DPoP, one))?.sub;
    };
    const [here, there] = [await subject(client), await subject({ client_id: registered.client_id })];
    assert.ok(here !== undefined && there !== undefined && here !== there);
});
test("a device enrols by RFC 8628, and exchanges its presentation for a token by RFC 8693", async () => {
    const keys = await generateDeviceKeys();
    const DPoP = oauth.DPoP(client, keys.signing);
    const { crv, kty, x, y } = await crypto.subtle.exportKey("jwk", keys.agreement.publicKey);
    const details = [{ type: "baton_device", agreement_jwk: { crv, kty, x, y }, claims: { name: "Television", kind: "tv" } }];
    const parameters = { scope: "session:read handoff:accept", authorization_details: JSON.stringify(details) };
    // RFC 9449 leaves this endpoint out; here the proof is the proof of possession of the device key (docs/protocol.md §4).
    const ask = async (nonce) => {
        const headers = new Headers({ dpop: await proof(keys.signing, "POST", as.device_authorization_endpoint ?? "", nonce) });
        return oauth.deviceAuthorizationRequest(as, client, oauth.None(), parameters, { headers, ...insecure });
    };
    const nonce = (await ask()).headers.get("dpop-nonce") ?? "";
    const asked = await oauth.processDeviceAuthorizationResponse(as, client, await ask(nonce));
    const redeem = async () => twice(async () => oauth.processDeviceCodeResponse(as, client, await oauth.deviceCodeGrantRequest(as, client, oauth.None(), asked.device_code, { DPoP, ...insecure })));
    const waits = (code) => (error) => error instanceof oauth.ResponseBodyError && error.error === code;
    await assert.rejects(redeem(), waits("authorization_pending"));
    await assert.rejects(redeem(), waits("slow_down"), "asked again at once");
    await server.approve(asked.user_code, String(asked["check_code"]));
    const issued = await redeem();
    assert.equal(issued.token_type, "dpop");
    const kept = { servers: serversAt(server.url), clientId: CLIENT, keys, credential: String(issued["credential"]), deviceId: String(issued["device_id"]) };
    const device = await Device.issued(kept, issued["device_log"], new Http(hurried));
    const issuer = new URL(`${server.url}/verifier`);
    const verifier = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }));
    const exchange = async () => {
        const form = {
            subject_token_type: "urn:baton:token-type:device-presentation",
            subject_token: await device.present({ audience: verifier.issuer, nonce: await device.nonce(verifier.issuer) }),
            audience: `${server.url}/broker`,
            scope: "session:read",
        };
        const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
        const answer = await oauth.genericTokenEndpointRequest(verifier, client, oauth.None(), grant, form, { DPoP, ...insecure });
        return oauth.processGenericTokenEndpointResponse(verifier, client, answer);
    };
    const token = await twice(exchange);
    assert.deepEqual([token.token_type, token.scope], ["dpop", "session:read"]);
    const sessions = () => oauth.protectedResourceRequest(token.access_token, "GET", new URL(`${server.url}/broker/v1/sessions`), undefined, undefined, { DPoP, ...insecure });
    const answer = await twice(sessions);
    assert.deepEqual(await answer.json(), { sessions: [] });
});
