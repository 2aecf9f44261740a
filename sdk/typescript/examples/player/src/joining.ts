/** How this window becomes a device: with a passkey in this browser (lane 1), or approved on another device (lane 2). */

import { Device, Http, IndexedDbStore, enrolElsewhere, enrolHere, redeemHere, serversAt, type Asking } from "@baton/sdk";
import { onClick, page, say } from "./page.js";
import { words } from "./words.js";

const query = new URLSearchParams(location.search);
/** In the player's own words: what a film may need, or adapt to. */
const CAN = ["video", ...(matchMedia("(min-width: 60rem)").matches ? ["screen:large"] : [])];
/** Each name is a device of its own: two windows of one browser can be two. */
const name = query.get("device") ?? sessionStorage.getItem("device") ?? "browser";
sessionStorage.setItem("device", name);
const server = query.get("server") ?? sessionStorage.getItem("server") ?? "http://localhost:7777";
sessionStorage.setItem("server", server);

const store = new IndexedDbStore(`player-${name}`);
const http = new Http();
const redirectUri = `${location.origin}/callback`;
const asking = (): Asking => ({
  http,
  servers: serversAt(server),
  clientId: "baton-cli",
  claims: { name: page.name.value, kind: "browser", capabilities: CAN },
  reason: words.reason,
  scope: "session:read session:write handoff:offer handoff:accept presence",
  store,
});

/** The device this window is; asks the person when it is none yet. */
export async function join(): Promise<Device> {
  const known = await Device.load(store, http);
  if (known) return known;
  if (location.pathname === "/callback") return comeBack();
  page.joining.hidden = false;
  return new Promise((resolve) => {
    onClick(page.here, async () => {
      const { url, pending } = await enrolHere(asking(), redirectUri);
      await store.savePending(pending);
      location.assign(url);
    });
    onClick(page.elsewhere, async () => {
      const asked = await enrolElsewhere(asking());
      page.link.href = page.link.textContent = asked.verificationUri;
      [page.code.value, page.check.value] = [asked.userCode, asked.checkCode];
      page.codes.hidden = false;
      say(words.waitingForApproval);
      resolve(await asked.redeem());
    });
  });
}

/** Lane 1, back from the approval. */
async function comeBack(): Promise<Device> {
  const pending = await store.pending();
  if (!pending) throw new Error(words.notAsked);
  const device = await redeemHere(asking(), pending, location.href);
  // The code in the address is spent; it need not stay in the history.
  history.replaceState(null, "", "/");
  return device;
}
