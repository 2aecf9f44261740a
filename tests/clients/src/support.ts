/** What every client here needs: a server, and a person who says yes with a software passkey. */

import { Http, enrolElsewhere, serversAt, type Asking, type Device } from "@baton/sdk";
import { Server, hurried } from "@baton/sdk/test-server";
import assert from "node:assert/strict";

export const CLIENT = "baton-cli";
export const REDIRECT = "http://127.0.0.1:49152/callback";

/** The browser's part of an authorization request: the person says yes, and it comes back to the app. */
export async function visit(server: Server, url: URL): Promise<URL> {
  const back = await server.approve(url.href, "yes");
  assert.ok(back !== undefined && back.startsWith(REDIRECT), back);
  return new URL(back);
}

/** A device of the person. */
export async function television(server: Server): Promise<Device> {
  const asking: Asking = { http: new Http(hurried), servers: serversAt(server.url), clientId: CLIENT, claims: { name: "Television", kind: "tv" }, scope: "session:read" };
  const asked = await enrolElsewhere(asking);
  await server.approve(asked.userCode, asked.checkCode);
  return asked.redeem();
}
