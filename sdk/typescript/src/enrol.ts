/** Enrolment from the device's side: ask on this device (lane 1) or from another (lane 2), let the person approve, redeem (docs/protocol.md §4). */

import { encode } from "./base64url.js";
import { Device } from "./device.js";
import { generateDeviceKeys, publicKeyOf, signerOf, type DeviceKeys, type Signer } from "./deviceKeys.js";
import { keysHash, type DeviceClaims } from "./enrolment.js";
import type { Http, Servers } from "./http.js";
import { hash } from "./key.js";
import { Refused } from "./refused.js";
import type { Store } from "./store.js";

/** What asks, and for what. */
export interface Asking {
  http: Http;
  servers: Servers;
  clientId: string;
  /** What the device says of itself; the person sees it, apart from what the server knows. */
  claims: DeviceClaims;
  /** Why the app asks, in its own words: one line of at most 200 characters, which the person sees as such. */
  reason?: string;
  /** What becomes the grant. */
  scope: string;
  /** Where the device will be kept; in memory, if nowhere. */
  store?: Store;
}

/** Lane 1, begun: send this browser to {@link url}, and give {@link redeem} where it comes back. */
export interface Here {
  url: string;
  /** Survives the redirect: keep it where only this app reads. The keys in it are not readable by anybody. */
  pending: PendingHere;
}

/** What lane 1 needs to go on after the redirect. Structured-cloneable. */
export interface PendingHere {
  keys: DeviceKeys;
  verifier: string;
  state: string;
  redirectUri: string;
}

/** Lane 2, begun: show these, then poll. */
export interface Elsewhere {
  verificationUri: string;
  /** For a QR code: with the user code, and what names this device's keys, so that the page can tell it from any other. */
  verificationUriComplete: string;
  userCode: string;
  /** Proves that the person sees this screen. Never put it in a QR code. */
  checkCode: string;
  /** Asks until the person has decided. */
  redeem(): Promise<Device>;
}

/** Lane 1: the browser of this very device approves. Gives a full device. */
export async function enrolHere(asking: Asking, redirectUri: string): Promise<Here> {
  const { http, servers, clientId, scope } = asking;
  const keys = await generateDeviceKeys(asking.store?.extractable);
  const signer = await signerOf(keys.signing);
  const [verifier, state] = [encode(http.around.random(32)), encode(http.around.random(32))];
  const form = {
    client_id: clientId,
    response_type: "code",
    redirect_uri: redirectUri,
    scope,
    state,
    code_challenge: hash(verifier),
    code_challenge_method: "S256",
    dpop_jkt: signer.public.thumbprint,
    authorization_details: await details(asking, keys),
  };
  const answer = (await post(asking, "/par", form, signer)) as { request_uri: string };
  const query = new URLSearchParams({ client_id: clientId, request_uri: answer.request_uri });
  return { url: `${servers.identity}/authorize?${query}`, pending: { keys, verifier, state, redirectUri } };
}

/** Lane 1, the other end: the URL this browser was sent back to becomes a device. */
export async function redeemHere(asking: Omit<Asking, "claims" | "scope">, pending: PendingHere, redirectedTo: string): Promise<Device> {
  const query = new URL(redirectedTo).searchParams;
  // RFC 9207: an answer from another server is not ours, whatever it carries.
  if (query.get("state") !== pending.state || query.get("iss") !== asking.servers.identity) throw new Refused("enrol.redirect", "state or issuer");
  const refused = query.get("error");
  if (refused !== null) throw Refused.told(refused, "refused by the person");
  const form = {
    grant_type: "authorization_code",
    client_id: asking.clientId,
    code: query.get("code") ?? "",
    redirect_uri: pending.redirectUri,
    code_verifier: pending.verifier,
  };
  return redeem(asking, pending.keys, form);
}

/** Lane 2: another device of the person approves, with the check code that only this one shows. Gives a limited device. */
export async function enrolElsewhere(asking: Asking): Promise<Elsewhere> {
  const keys = await generateDeviceKeys(asking.store?.extractable);
  const form = { client_id: asking.clientId, scope: asking.scope, authorization_details: await details(asking, keys) };
  const answer = (await post(asking, "/device_authorization", form, await signerOf(keys.signing))) as Record<string, string>;
  const { device_code = "", verification_uri = "", verification_uri_complete = "", user_code = "", check_code = "" } = answer;
  const grant = { grant_type: "urn:ietf:params:oauth:grant-type:device_code", client_id: asking.clientId, device_code };
  let interval = Number(answer["interval"] ?? 5);
  const until = asking.http.seconds() + Number(answer["expires_in"] ?? 600);
  return {
    verificationUri: verification_uri,
    verificationUriComplete: `${verification_uri_complete}.${keysHash(await publicKeyOf(keys.signing), await publicKeyOf(keys.agreement))}`,
    userCode: user_code,
    checkCode: check_code,
    async redeem() {
      for (;;) {
        await asking.http.around.pause(interval * 1000);
        try {
          return await redeem(asking, keys, grant);
        } catch (error) {
          const code = error instanceof Refused ? error.code : "";
          if (code === "slow_down") interval += 5;
          // The key may be approved by now: it is asked for until the server says that it will not be.
          else if (code !== "authorization_pending" && code !== "transport") throw error;
          if (asking.http.seconds() > until) throw new Refused("expired_token", "nobody has decided in time");
        }
      }
    },
  };
}

type Redeeming = Pick<Asking, "http" | "servers" | "clientId" | "store">;

async function redeem(asking: Redeeming, keys: DeviceKeys, form: Record<string, string>): Promise<Device> {
  const { http, servers, clientId } = asking;
  const signer = await signerOf(keys.signing);
  let answer: unknown;
  try {
    answer = await post(asking, "/token", form, signer);
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "invalid_grant") throw error;
    // An answer that was lost spent the code, not the key.
    const fetched = http.proven({ method: "POST", service: servers.identity, path: "/v1/credential" }, signer);
    answer = await fetched.catch(() => Promise.reject(error));
  }
  const { credential, device_id, device_log } = answer as { credential: string; device_id: string; device_log: string[] };
  return Device.issued({ servers, clientId, keys, credential, deviceId: device_id }, device_log, http, asking.store);
}

async function details(asking: Asking, keys: DeviceKeys): Promise<string> {
  const agreement = await publicKeyOf(keys.agreement);
  return JSON.stringify([{ type: "baton_device", agreement_jwk: agreement.jwk, claims: asking.claims, ...(asking.reason === undefined ? {} : { reason: asking.reason }) }]);
}

function post(asking: Redeeming, path: string, form: Record<string, string>, signer: Signer): Promise<unknown> {
  return asking.http.proven({ method: "POST", service: asking.servers.identity, path, form }, signer);
}
