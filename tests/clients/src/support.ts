/** What every client here needs: a server, and a person who says yes with a software passkey. */

import { Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";

export const CLIENT = "baton-cli";
export const REDIRECT = "http://127.0.0.1:49152/callback";

/** The browser's part of an authorization request: the person says yes, and it comes back to the app. */
export async function visit(server: Server, url: URL): Promise<URL> {
  const back = await server.approve(url.href, "yes");
  assert.ok(back !== undefined && back.startsWith(REDIRECT), back);
  return new URL(back);
}
