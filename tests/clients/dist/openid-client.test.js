/** openid-client against identity: a relying party as anybody would write it. */
import { Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as client from "openid-client";
import { CLIENT, REDIRECT, visit } from "./support.js";
let server;
before(async () => {
    server = await Server.start();
});
after(() => server.stop());
test("an app uses Baton as its passkey sign-in", async () => {
    const config = await client.discovery(new URL(`${server.url}/identity`), CLIENT, undefined, client.None(), { execute: [client.allowInsecureRequests] });
    client.enableNonRepudiationChecks(config);
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    const [verifier, state, nonce] = [client.randomPKCECodeVerifier(), client.randomState(), client.randomNonce()];
    const parameters = { redirect_uri: REDIRECT, scope: "openid email", code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256", state, nonce };
    const url = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP });
    assert.deepEqual([...url.searchParams.keys()].sort(), ["client_id", "request_uri"], "all else was pushed");
    const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
    const tokens = await client.authorizationCodeGrant(config, await visit(server, url), checks, undefined, { DPoP });
    const sub = tokens.claims()?.sub ?? "";
    assert.deepEqual([tokens.scope, (await client.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).sub], ["openid", sub]);
    const next = await client.refreshTokenGrant(config, tokens.refresh_token ?? "", undefined, { DPoP });
    assert.equal(next.claims()?.sub, sub);
    await client.tokenRevocation(config, next.refresh_token ?? "");
    await assert.rejects(client.refreshTokenGrant(config, next.refresh_token ?? "", undefined, { DPoP }), (error) => error instanceof client.ResponseBodyError && error.error === "invalid_grant");
});
test("a refusal comes back as the standard has it", async () => {
    const config = await client.discovery(new URL(`${server.url}/identity`), CLIENT, undefined, client.None(), { execute: [client.allowInsecureRequests] });
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    const parameters = { redirect_uri: "https://evil.example/callback", scope: "openid", code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()), code_challenge_method: "S256" };
    await assert.rejects(client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP }), (error) => error instanceof client.ResponseBodyError && error.error === "invalid_request");
});
