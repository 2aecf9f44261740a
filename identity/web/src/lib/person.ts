/** What a person does: sign up, sign in, recover, approve. The root is in clear inside {@link withRoot} alone. */

import { RecoveryCode, Refused, Root, approve as sign, shownHash, signAnew, surroundings, type Approval, type Offer, type Shown, type WrappedRoot } from "@baton/sdk";
import { get, post, type Account, type DeviceRow } from "./api.js";
import { create, use, type Ceremony } from "./passkey.js";

interface Started {
  ceremony: string;
  options: { publicKey: Record<string, unknown> };
}

/** The root this browser knows a passkey by: a server that shows another one is caught. */
const PIN = "baton.root.";
const rpId = location.hostname;
const identity = `${location.origin}/identity`;

/** Whether somebody is signed in here. */
export async function isSignedIn(): Promise<boolean> {
  try {
    await get("/account");
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return false;
    throw error;
  }
}

/** Makes an account. Gives the recovery code, which exists nowhere else. */
export async function signUp(): Promise<RecoveryCode> {
  const started = await post<Started>("/sign-up/start");
  const made = await create(started.options);
  const prf = needPrf(made);
  const [root, code] = [Root.generate(), RecoveryCode.generate()];
  try {
    await post("/sign-up/finish", {
      ceremony: started.ceremony,
      credential: made.credential,
      account_jwk: root.account.public.jwk,
      proof: root.proof(identity, started.ceremony),
      recovery_id: code.id(),
      wraps: [await root.wrapForPasskey(prf, made.id, rpId), await root.wrapForRecovery(code)],
    });
    localStorage.setItem(PIN + made.id, root.fingerprint);
    return code;
  } finally {
    prf.fill(0);
    root.forget();
  }
}

/** The person has written the code down. */
export const confirmRecovery = (): Promise<unknown> => post("/account/recovery/confirm");

/** The person shows that they still have the code they never confirmed: it opens this account's copy. */
export async function confirmTyped(typed: string): Promise<void> {
  const code = RecoveryCode.parse(typed);
  const { wrapped } = await post<{ wrapped: WrappedRoot }>("/recovery/start", { recovery_id: code.id() });
  const root = await Root.recover(wrapped, code);
  const { fingerprint } = root;
  root.forget();
  if (fingerprint !== (await get<Account>("/account")).root) throw new Refused("wrap.invalid", "the code of another account");
  await confirmRecovery();
}

/** Signs in; the root stays closed. */
export async function signIn(): Promise<void> {
  const started = await post<Started>("/sign-in/start");
  await finish(started, await use(started.options, false));
}

/** Recovers on a new passkey with the code alone. */
export async function recover(typed: string): Promise<void> {
  const code = RecoveryCode.parse(typed);
  const started = await post<Started & { wrapped: WrappedRoot }>("/recovery/start", { recovery_id: code.id() });
  const root = await Root.recover(started.wrapped, code);
  try {
    const made = await create(started.options);
    const wrapped = await root.wrapForPasskey(needPrf(made), made.id, rpId).finally(() => made.prf?.fill(0));
    const proof = root.proof(identity, started.ceremony);
    await post("/recovery/finish", { ceremony: started.ceremony, credential: made.credential, proof, wrapped });
    localStorage.setItem(PIN + made.id, root.fingerprint);
  } finally {
    root.forget();
  }
}

/** Approves what was shown, and only that; for a device whose QR code was scanned, its `keys` alone. Gives where lane 1 goes on. */
export async function approve(shown: Shown, checkCode: string | undefined, keys: string | undefined): Promise<string | undefined> {
  let redirect: string | undefined;
  await withRoot(async (root) => {
    const issuer = root.issuer(shown.app).public.did;
    for (let tries = 0; ; tries++) {
      const asked = { shown_hash: shownHash(shown), issuer, ...(checkCode === undefined ? {} : { check_code: checkCode }) };
      const offer = await post<Offer>(`/requests/${shown.request}/offer`, asked);
      try {
        const answer = await postApproval(shown, sign(root, shown, offer, keys === undefined ? {} : { keys }));
        redirect = answer.redirect_to ?? undefined;
        return;
      } catch (error) {
        // Another approval was quicker: the same ceremony signs again at the log's new end.
        if (!(error instanceof Refused) || error.code !== "log.moved" || tries === 2) throw error;
      }
    }
  });
  return redirect;
}

/** The same approval twice is one, and answers from where it led: an answer that was lost is asked for again. */
async function postApproval(shown: Shown, approval: Approval): Promise<{ redirect_to?: string }> {
  for (let tries = 0; ; tries++) {
    try {
      return await post(`/requests/${shown.request}/approve`, approval);
    } catch (error) {
      const lost = error instanceof Refused && (error.code === "transport" || (error.status ?? 0) >= 502);
      if (!lost || tries === 2) throw error;
      await surroundings.pause(300 * 2 ** tries);
    }
  }
}

/** What cannot be undone wants the person there: does it, after a passkey if the last one was too long ago. */
export async function present<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Refused) || !error.code.endsWith(".reauth")) throw error;
    await signIn();
    return act();
  }
}

/** Signs a device's credential anew: near its end, or to make it full. */
export async function signDeviceAnew(device: DeviceRow, what: "renew" | "raise"): Promise<void> {
  await withRoot(async (root) => {
    for (let tries = 0; ; tries++) {
      const offer = await post<Offer>(`/devices/${device.device_id}/${what}/offer`);
      const known = { app: device.app, device: device.device, clientId: device.client_id, tier: device.tier };
      try {
        await post(`/devices/${device.device_id}/${what}/approve`, signAnew(root, known, what === "raise", offer));
        return;
      } catch (error) {
        if (!(error instanceof Refused) || error.code !== "log.moved" || tries === 2) throw error;
      }
    }
  });
}

/** Adds a passkey. True when it can open the root: then it has its own copy. */
export async function addPasskey(): Promise<boolean> {
  let opens = false;
  await withRoot(async (root) => {
    const started = await post<Started>("/passkeys/start");
    const made = await create(started.options);
    const proof = root.proof(identity, started.ceremony);
    const copy = made.prf && { proof, wrapped: await root.wrapForPasskey(made.prf, made.id, rpId).finally(() => made.prf?.fill(0)) };
    await post("/passkeys/finish", { ceremony: started.ceremony, credential: made.credential, ...(copy ? { copy } : {}) });
    localStorage.setItem(PIN + made.id, root.fingerprint);
    opens = copy !== undefined;
  });
  return opens;
}

/** Puts a new recovery code, which the person has written down, in the place of the one before. */
export async function replaceRecovery(code: RecoveryCode): Promise<void> {
  await withRoot(async (root) => {
    const { ceremony } = await post<{ ceremony: string }>("/account/recovery/start");
    const wrapped = await root.wrapForRecovery(code);
    await post("/account/recovery/replace", { ceremony, recovery_id: code.id(), proof: root.proof(identity, ceremony), wrapped });
  });
}

/** A passkey verifies the person; its copy of the root is opened for `act` and forgotten, whatever happens. */
async function withRoot(act: (root: Root) => Promise<void>): Promise<void> {
  const started = await post<Started>("/sign-in/start");
  const used = await use(started.options, true);
  let root: Root | undefined;
  try {
    const prf = needPrf(used);
    const answer = await finish(started, used);
    const pinned = localStorage.getItem(PIN + used.id);
    if (pinned !== null && pinned !== answer.root) throw new Refused("wrap.invalid", "another root than this browser knows");
    const mine = answer.wraps.find(({ opener }) => opener.kind === "passkey" && opener.credential_id === used.id);
    if (!mine) throw new Refused("wrap.prf", "this passkey holds no copy of the root");
    root = await Root.unwrap(mine, prf, used.id, rpId, answer.root);
    // Known from here on: what has opened, not what the server says.
    localStorage.setItem(PIN + used.id, root.fingerprint);
    await act(root);
  } finally {
    used.prf?.fill(0);
    root?.forget();
  }
}

function finish(started: Started, used: Ceremony): Promise<{ root: string; wraps: WrappedRoot[] }> {
  return post("/sign-in/finish", { ceremony: started.ceremony, credential: used.credential });
}

function needPrf(made: Ceremony): Uint8Array<ArrayBuffer> {
  if (!made.prf) throw new Refused("wrap.prf", "this passkey has no PRF");
  return made.prf;
}
