/** What a person does: sign up, sign in, recover, approve. The root is in clear inside {@link withRoot} alone. */

import { RecoveryCode, Refused, Root, approve as sign, leadsTo, readDeviceLog, shownHash, signAnew, surroundings, type Offer, type Shown, type WrappedRoot } from "@baton/sdk";
import { actsFor, get, mayBe, post, type Account, type DeviceRow } from "./api.js";
import { create, use, type Ceremony } from "./passkey.js";
import { identity } from "./place.js";

interface Started {
  ceremony: string;
  options: { publicKey: Record<string, unknown> };
}

/** The root this browser knows a passkey by: a server that shows another one is caught. */
const PIN = "baton.root.";
export const rpId = location.hostname;

/** Whether somebody is signed in here. */
export async function isSignedIn(): Promise<boolean> {
  try {
    actsFor((await get<Account>("/account")).account);
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
    const body = {
      ceremony: started.ceremony,
      credential: made.credential,
      account_jwk: root.account.public.jwk,
      proof: root.proof(identity, started.ceremony),
      recovery_id: code.id(),
      wraps: [await root.wrapForPasskey(prf, made.id, rpId), await root.wrapForRecovery(code)],
    };
    const answer = await post<{ account: string }>("/sign-up/finish", body).catch(async (error: unknown) => {
      if (!isLost(error)) throw error;
      // The account may be there all the same: then its passkey signs in, and the code is still shown.
      const began = await post<Started>("/sign-in/start");
      const found = await finish(began, await use(began.options, false));
      if (found.root !== root.fingerprint) throw error;
      return found;
    });
    actsFor(answer.account);
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
    actsFor((await post<{ account: string }>("/recovery/finish", { ceremony: started.ceremony, credential: made.credential, proof, wrapped })).account);
    localStorage.setItem(PIN + made.id, root.fingerprint);
  } finally {
    root.forget();
  }
}

/** Approves what was shown, and only that; for a device whose QR code was scanned, its `keys` alone. Gives where lane 1 goes on. */
export async function approve(shown: Shown, checkCode: string | undefined, keys: string | undefined): Promise<string | undefined> {
  let redirect: string | undefined;
  await withRoot(async (root) => {
    const issuer = didOf(root, shown.app);
    await signAgain(async () => {
      const asked = { shown_hash: shownHash(shown), issuer, ...(checkCode === undefined ? {} : { check_code: checkCode }) };
      const offer = await post<Offer>(`/requests/${shown.request}/offer`, asked);
      const log = await logOf(root, shown.app);
      const approval = sign(root, shown, offer, { log, identity, ...(keys === undefined ? {} : { keys }) });
      const answer = await persist(() => post<{ redirect_to?: string }>(`/requests/${shown.request}/approve`, approval));
      pinLog(root, shown.app, [...log, ...approval.entries]);
      redirect = answer.redirect_to ?? undefined;
    });
  });
  return redirect;
}

/** When another approval was quicker, the same ceremony signs again at the log's new end. */
export async function signAgain(act: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "log.moved" || tries === 2) throw error;
    }
  }
}

/** Whether nobody knows what became of it. */
const isLost = (error: unknown): boolean => error instanceof Refused && (error.code === "transport" || (error.status ?? 0) >= 502);

/** The same request twice is one, and answers from where it led: an answer that was lost is asked for again. */
export async function persist<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!isLost(error) || tries === 2) throw error;
      await surroundings.pause(300 * 2 ** tries);
    }
  }
}

const LOG_PIN = "baton.log.";

/** The log of an app, which must go on from what this browser saw before: a server that forks or shortens it is caught. */
export async function logOf(root: Root, app: string): Promise<string[]> {
  const { entries } = await get<{ entries: string[] }>(`/logs/${encodeURIComponent(app)}`);
  const kept = localStorage.getItem(`${LOG_PIN}${root.fingerprint}.${app}`);
  if (kept === null) return entries;
  const { n, hash, carried } = JSON.parse(kept) as { n: number; hash: string; carried?: true };
  // A log in which no device was left is closed when the root is replaced. What comes after it is opened by the root there is now: nobody was added.
  if (carried && (entries.length === 0 || readDeviceLog(entries.slice(0, 1)).issuer === didOf(root, app))) return entries;
  if (entries.length <= n || readDeviceLog(entries.slice(0, n + 1)).head.hash !== hash) throw new Refused("log.fork", "another log than this browser saw");
  return entries;
}

function didOf(root: Root, app: string): string {
  const issuer = root.issuer(app);
  issuer.forget();
  return issuer.public.did;
}

export function pinLog(root: Root, app: string, entries: string[]): void {
  localStorage.setItem(`${LOG_PIN}${root.fingerprint}.${app}`, JSON.stringify(readDeviceLog(entries).head));
}

/** Goes on to an app. Whatever identity says, no script is run here. */
export function goTo(url: string): void {
  if (!/^https?:$/.test(new URL(url).protocol)) throw new Refused("enrol.changed", "no place to go");
  location.assign(url);
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

/** What the person signed for a device. */
export const credentialOf = async (device: DeviceRow): Promise<string> => (await get<{ credential: string }>(`/devices/${device.device_id}/credential`)).credential;

/** Signs a device's credential anew: near its end, or to make it full. */
export async function signDeviceAnew(device: DeviceRow, what: "renew" | "raise"): Promise<void> {
  await withRoot(async (root) => {
    await signAgain(async () => {
      const offer = await post<Offer>(`/devices/${device.device_id}/${what}/offer`);
      const log = await logOf(root, device.app);
      const known = { app: device.app, device: device.device, credential: await credentialOf(device), log };
      const approval = signAnew(root, known, what === "raise", offer);
      await persist(() => post(`/devices/${device.device_id}/${what}/approve`, approval));
      pinLog(root, device.app, [...log, ...approval.entries]);
    });
  });
}

/** Adds a passkey. True when it can open the root: then it has its own copy. */
export async function addPasskey(): Promise<boolean> {
  let opens = false;
  await withRoot(async (root) => {
    const started = await post<Started>("/passkeys/start");
    const made = await create(started.options);
    const proof = root.proof(identity, started.ceremony);
    const wrapped = made.prf && (await root.wrapForPasskey(made.prf, made.id, rpId).finally(() => made.prf?.fill(0)));
    await post("/passkeys/finish", { ceremony: started.ceremony, credential: made.credential, proof, ...(wrapped ? { wrapped } : {}) });
    localStorage.setItem(PIN + made.id, root.fingerprint);
    opens = wrapped !== undefined;
  });
  return opens;
}

/** Puts a new recovery code, which the person has written down, in the place of the one before. */
export async function replaceRecovery(code: RecoveryCode): Promise<void> {
  await withRoot(async (root) => {
    const { ceremony } = await post<{ ceremony: string }>("/account/recovery/start");
    const wrapped = await root.wrapForRecovery(code);
    const body = { ceremony, recovery_id: code.id(), proof: root.proof(identity, ceremony), wrapped };
    await persist(() => post("/account/recovery/replace", body));
  });
}

/** A passkey verifies the person; its copy of the root is opened for `act` and forgotten, whatever happens. */
export async function withRoot(act: (root: Root, by: { prf: Uint8Array<ArrayBuffer>; id: string }) => Promise<void>): Promise<void> {
  const started = await post<Started>("/sign-in/start");
  const used = await use(started.options, true);
  let root: Root | undefined;
  try {
    const prf = needPrf(used);
    const answer = await finish(started, used);
    const pinned = localStorage.getItem(PIN + used.id);
    if (pinned !== null && !leadsTo(answer.root_statements, pinned, answer.root)) throw new Refused("wrap.invalid", "another root than this browser knows");
    const mine = answer.wraps.find(({ opener }) => opener.kind === "passkey" && opener.credential_id === used.id);
    if (!mine) throw new Refused("wrap.prf", "this passkey holds no copy of the root");
    root = await Root.unwrap(mine, prf, used.id, rpId, answer.root);
    // Known from here on: what has opened, not what the server says.
    pinRoot(used.id, root.fingerprint);
    await act(root, { prf, id: used.id });
  } finally {
    used.prf?.fill(0);
    root?.forget();
  }
}

/** The root that a passkey opens from here on. What was seen of the logs goes on under a root that replaced another. */
export function pinRoot(passkey: string, root: string): void {
  const before = localStorage.getItem(PIN + passkey);
  localStorage.setItem(PIN + passkey, root);
  if (before === null || before === root) return;
  for (const name of Object.keys(localStorage).filter((one) => one.startsWith(`${LOG_PIN}${before}.`))) {
    localStorage.setItem(name.replace(before, root), JSON.stringify({ ...(JSON.parse(localStorage.getItem(name) ?? "{}") as object), carried: true }));
    localStorage.removeItem(name);
  }
}

interface SignedIn {
  account: string;
  root: string;
  wraps: WrappedRoot[];
  /** What each root before said of the one that replaced it. */
  root_statements: string[];
}

async function finish(started: Started, used: Ceremony): Promise<SignedIn> {
  const body = { ceremony: started.ceremony, credential: used.credential };
  const answer = await post<SignedIn>("/sign-in/finish", body);
  // A passkey of somebody else who uses this browser: this page goes on for nobody but whom it was loaded for.
  if (!mayBe(answer.account)) throw new Refused("webauthn.other", "another account");
  actsFor(answer.account);
  return answer;
}

function needPrf(made: Ceremony): Uint8Array<ArrayBuffer> {
  if (!made.prf) throw new Refused("wrap.prf", "this passkey has no PRF");
  return made.prf;
}
