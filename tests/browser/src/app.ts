/** An app, or a wallet, that speaks OAuth by oauth4webapi, from another machine than the browser. */

import * as oauth from "oauth4webapi";
import type { Page } from "playwright-core";
import { CALLBACK } from "./enrolled.js";

const client: oauth.Client = { client_id: "baton-cli" };
const insecure = { [oauth.allowInsecureRequests]: true } as const;

export class App {
  readonly #verifier = oauth.generateRandomCodeVerifier();
  private constructor(
    readonly issuer: URL,
    private readonly as: oauth.AuthorizationServer,
    private readonly DPoP: oauth.DPoPHandle,
  ) {}

  static async at(url: string): Promise<App> {
    const issuer = new URL(`${url}/identity`);
    const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
    return new App(issuer, as, oauth.DPoP(client, await oauth.generateKeyPair("ES256")));
  }

  /** Asks for this; gives where the person decides. */
  async push(scope: string): Promise<string> {
    const code_challenge = await oauth.calculatePKCECodeChallenge(this.#verifier);
    const parameters = { response_type: "code", redirect_uri: CALLBACK, scope, code_challenge, code_challenge_method: "S256", state: "a state" };
    const ask = async (): Promise<oauth.PushedAuthorizationResponse> =>
      oauth.processPushedAuthorizationResponse(this.as, client, await oauth.pushedAuthorizationRequest(this.as, client, oauth.None(), parameters, { DPoP: this.DPoP, ...insecure }));
    const { request_uri } = await ask().catch(ask);
    return `${this.as.authorization_endpoint}?${new URLSearchParams({ client_id: client.client_id, request_uri })}`;
  }

  /** What it gets for the code that the page was led back with. */
  async redeem(page: Page): Promise<oauth.TokenEndpointResponse> {
    const back = oauth.validateAuthResponse(this.as, client, new URL(page.url()), "a state");
    const ask = async (): Promise<oauth.TokenEndpointResponse> =>
      oauth.processAuthorizationCodeResponse(this.as, client, await oauth.authorizationCodeGrantRequest(this.as, client, oauth.None(), back, CALLBACK, this.#verifier, { DPoP: this.DPoP, ...insecure }));
    return ask().catch(ask);
  }

  /** Posts with its token. */
  post(path: string, token: string, body: object): Promise<Response> {
    const ask = (): Promise<Response> =>
      oauth.protectedResourceRequest(token, "POST", new URL(`${this.issuer}/${path}`), new Headers({ "content-type": "application/json" }), JSON.stringify(body), { DPoP: this.DPoP, ...insecure });
    return ask().catch(ask);
  }
}
