/** The root is replaced: asked for, agreed to by a full device of each app, then signed with both roots open for a moment. */

import { Refused, Root, handOver, replacedBy, type AppChange, type RecoveryCode, type WrappedRoot } from "@baton/sdk";
import { get, post } from "./api.js";
import { logOf, persist, pinLog, pinRoot, rpId, signAgain, withRoot } from "./person.js";
import { identity } from "./place.js";

/** What is asked for. */
export interface Asked {
  /** Fingerprint of the root to be. */
  root: string;
  expires_at: number;
  apps: { app: string; to: string; agreed: string | null }[];
  /** The new root's copies: only for someone verified just before. */
  wraps: WrappedRoot[] | null;
}

/** The root this browser made last to be the next one. */
const NEXT = "baton.next";

/** What is asked for now, if anything. */
export const whatIsAsked = async (): Promise<Asked | undefined> => (await get<{ asked: Asked | null }>("/account/root")).asked ?? undefined;

/** Makes a root and asks for it to take the place of the one so far. The person has written its code down. */
export async function askForRoot(code: RecoveryCode): Promise<void> {
  await withRoot(async (root, { prf, id }) => {
    const { ceremony, apps } = await post<{ ceremony: string; apps: { app: string }[] }>("/account/root/start");
    const next = Root.generate();
    try {
      const issuers = Object.fromEntries(apps.map(({ app }) => [app, didOf(next, app)]));
      const wraps = [await next.wrapForPasskey(prf, id, rpId), await next.wrapForRecovery(code)];
      const signed = { statement: replacedBy(root, next), proof: next.proof(identity, ceremony) };
      localStorage.setItem(NEXT, next.fingerprint);
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
export const cancelRoot = (): Promise<unknown> => post("/account/root/cancel");

/** Everybody agreed: signs the switch of every app. */
export async function switchRoot(): Promise<void> {
  await withRoot(async (root, { prf, id }) => {
    const asked = await whatIsAsked();
    const mine = asked?.wraps?.find(({ opener }) => opener.kind === "passkey" && opener.credential_id === id);
    if (!asked || !mine) throw new Refused("root.not_asked", "nothing that this passkey opens");
    const made = localStorage.getItem(NEXT);
    if (made !== null && made !== asked.root) throw new Refused("wrap.invalid", "another root than this browser made");
    const next = await Root.unwrap(mine, prf, id, rpId, asked.root);
    try {
      await signAgain(async () => {
        const { apps } = await post<{ apps: AppChange[] }>("/account/root/offer");
        const logs = await Promise.all(apps.map(({ app }) => logOf(root, app)));
        const signed = apps.map((change, at) => handOver(root, next, change, logs[at] ?? []));
        await persist(() => post("/account/root/approve", { root: next.fingerprint, apps: signed }));
        pinRoot(id, next.fingerprint);
        localStorage.removeItem(NEXT);
        signed.forEach(({ app, entries }, at) => pinLog(next, app, [...(logs[at] ?? []), ...entries]));
      });
    } finally {
      next.forget();
    }
  });
}
