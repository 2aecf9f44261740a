/** Devices of a person at a browser, enrolled as an app would. */

import { Http, enrolHere, redeemHere, serversAt, type Asking, type Device } from "@baton/sdk";
import { hurried, type Server } from "@baton/sdk/test-server";
import type { Page } from "playwright-core";

const SCOPE = "session:read session:write handoff:offer handoff:accept presence";
export const CALLBACK = "http://127.0.0.1:9/callback";

/** What an app says of a device that is to join. */
export function asking(server: Server, name: string, kind: "laptop" | "tv" = "laptop"): Asking {
  return { http: new Http(hurried), servers: serversAt(server.url), clientId: "baton-cli", claims: { name, kind }, scope: SCOPE };
}

/** A device of this person, approved in the page. */
export async function full(server: Server, page: Page, name: string): Promise<Device> {
  const asked = asking(server, name);
  const here = await enrolHere(asked, CALLBACK);
  await page.route(`${CALLBACK}**`, (route) => route.fulfill({ body: "back in the app" }));
  await page.goto(here.url);
  await page.getByRole("button", { name: "Approve with passkey" }).click();
  await page.waitForURL(`${CALLBACK}**`);
  return redeemHere(asked, here.pending, page.url());
}

/** The page says this, to eyes and screen readers. */
export const told = (page: Page, what: string | RegExp): Promise<void> => page.getByRole("status").filter({ hasText: what }).waitFor();
