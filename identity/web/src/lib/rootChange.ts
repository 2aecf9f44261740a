/** The root is replaced: asked for, agreed to by a full device of each app, then signed with both roots open for a moment. */

import { Refused, Root, handOver, replacedBy, requestFor, type AppChange, type RecoveryCode, type WrappedRoot } from "@baton/sdk";
import { get, post } from "./api.js";
import { logOf, persist, pinLog, pinRoot, present, rpId, signAgain, withRoot } from "./person.js";
import { identity } from "./place.js";

/** One app with live devices. */
export interface AppAsked {
  app: string;
  /** Its new issuer; none for an app that came after the request was made. */
  to: string | null;
  /** The device that agreed. */
  agreed: string | null;
  /** Whether any device of it can agree. */
  possible: boolean;
  /** What goes on under the new root. */
  devices: string[];
}

/** What is asked for. */
export interface Asked {
  /** Fingerprint of the root to be. */
  root: string;
  expires_at: number;
  apps: AppAsked[];
  /** The new root's copies: only for someone verified just before. */
  wraps: WrappedRoot[] | null;
}

/** By the root so far: the next one that this browser made for it, with the issuers it derived. */
const NEXT = "baton.next.";

interface Made {
  root: string;
  issuers: Record<string, string>;
}

function made(root: string): Made | undefined {
  const kept = localStorage.getItem(NEXT + root);
  return kept === null ? undefined : (JSON.parse(kept) as Made);
}

/** What is asked for now, if anything. Where this browser made the new root, its own word for the issuers is what counts. */
export async function whatIsAsked(): Promise<Asked | undefined> {
  const [{ asked }, { root }] = await Promise.all([get<{ asked: Asked | null }>("/account/root"), get<{ root: string }>("/account")]);
  const own = made(root);
  if (asked && own?.root === asked.root && asked.apps.some(({ app, to }) => to !== null && to !== own.issuers[app])) {
    throw new Refused("wrap.invalid", "another issuer than this browser made");
  }
  return asked ?? undefined;
}

/** Makes a root and asks for it to take the place of the one so far. The person has written its code down. */
export async function askForRoot(code: RecoveryCode): Promise<void> {
  await withRoot(async (root, { prf, id }) => {
    const { ceremony, apps } = await post<{ ceremony: string; apps: { app: string }[] }>("/account/root/start");
    const next = Root.generate();
    try {
      const issuers = Object.fromEntries(apps.map(({ app }) => [app, didOf(next, app)]));
      const wraps = [await next.wrapForPasskey(prf, id, rpId), await next.wrapForRecovery(code)];
      const signed = { request: requestFor(root, next), proof: next.proof(identity, ceremony) };
      localStorage.setItem(NEXT + root.fingerprint, JSON.stringify({ root: next.fingerprint, issuers } satisfies Made));
      await persist(() => post("/account/root/ask", { ceremony, account_jwk: next.account.public.jwk, recovery_id: code.id(), wraps, issuers, ...signed }));
    } finally {
      next.forget();
    }
  });
}

function didOf(root: Root, app: string): string {
  const issuer = root.issuer(app);
  issuer.forget();
  return issuer.public.did;
}

/** Asks no more. */
export async function cancelRoot(): Promise<void> {
  await present(() => post("/account/root/cancel"));
  localStorage.removeItem(NEXT + (await get<{ root: string }>("/account")).root);
}

/** Everybody agreed: signs the switch of every app. */
export async function switchRoot(): Promise<void> {
  await withRoot(async (root, { prf, id }) => {
    const asked = await whatIsAsked();
    const mine = asked?.wraps?.find(({ opener }) => opener.kind === "passkey" && opener.credential_id === id);
    if (!asked) throw new Refused("root.not_asked", "nothing");
    if (!mine) throw new Refused("root.passkey", "asked for with another passkey");
    const own = made(root.fingerprint);
    if (own && own.root !== asked.root) throw new Refused("wrap.invalid", "another root than this browser made");
    const next = await Root.unwrap(mine, prf, id, rpId, asked.root);
    try {
      await signAgain(async () => {
        const { apps } = await post<{ apps: AppChange[] }>("/account/root/offer");
        // An app that is left out would stay with the root before, and the person would not know.
        if (own && Object.keys(own.issuers).some((app) => !apps.some((change) => change.app === app) && asked.apps.some((one) => one.app === app))) throw new Refused("root.not_agreed", "an app is left out");
        const logs = await Promise.all(apps.map(({ app }) => logOf(root, app)));
        const signed = apps.map((change, at) => handOver(root, next, change, logs[at] ?? []));
        await persist(() => post("/account/root/approve", { root: next.fingerprint, statement: replacedBy(root, next), apps: signed }));
        pinRoot(id, next.fingerprint);
        localStorage.removeItem(NEXT + root.fingerprint);
        signed.forEach(({ app, entries }, at) => pinLog(next, app, [...(logs[at] ?? []), ...entries]));
      });
    } finally {
      next.forget();
    }
  });
}
