/** The sessions of each app, through tokens bound to a key that lives as long as this page (docs/protocol.md §11). */

import { Http, Refused, generateDeviceKeys, signerOf, type Signer } from "@baton/sdk";
import type { DeviceRow } from "./api.js";
import { signIn } from "./person.js";
import { identity } from "./place.js";

/** A session as the broker lists it. */
export interface SessionRow {
  app: string;
  session: string;
  phase: string;
  epoch: number;
  holder: string | null;
}

const http = new Http();
let key: Promise<Signer> | undefined;
const tokens = new Map<string, { token: string; broker: string; until: number }>();

async function tokenFor(app: string): Promise<{ token: string; broker: string }> {
  const known = tokens.get(app);
  if (known && Date.now() < known.until) return known;
  const signer = await (key ??= generateDeviceKeys().then(({ signing }) => signerOf(signing)));
  const request = { method: "POST", service: identity, path: "/v1/manage-tokens", json: { app }, withCookie: true } as const;
  const answer = (await http.proven(request, signer)) as { access_token: string; expires_in: number; broker: string };
  const fresh = { token: answer.access_token, broker: answer.broker, until: Date.now() + (answer.expires_in - 30) * 1000 };
  tokens.set(app, fresh);
  return fresh;
}

async function ask<T>(app: string, path: string, json?: object): Promise<T> {
  const { token, broker } = await tokenFor(app);
  const request = { method: json ? "POST" : "GET", service: broker, path: `/v1/manage${path}`, token, ...(json ? { json } : {}) } as const;
  return (await http.proven(request, await (key as Promise<Signer>))) as T;
}

/** What each app gives. One whose log was closed with an older root has nothing to look after. */
const fromEach = <T>(apps: string[], none: T, act: (app: string) => Promise<T>): Promise<T[]> =>
  Promise.all(
    apps.map((app) =>
      act(app).catch((error: unknown) => {
        if (error instanceof Refused && error.code === "not_found") return none;
        throw error;
      }),
    ),
  );

/** A device that is there now. */
export interface There {
  device: string;
  /** It has been told everything that happened. */
  in_sync: boolean;
  status: "online" | "away";
  /** The session it has in front. */
  session: string | null;
}

/** What runs, by app, and who is there. */
export async function sessionsOf(apps: string[]): Promise<{ sessions: SessionRow[]; there: There[] }> {
  const each = await fromEach(apps, { sessions: [], there: [] }, (app) => ask<{ sessions: SessionRow[]; there: There[] }>(app, "/sessions"));
  return { sessions: each.flatMap(({ sessions }) => sessions).filter(({ phase }) => phase !== "ended"), there: each.flatMap(({ there }) => there) };
}

/** A handoff, looked back on. */
export interface HandoffRow {
  handoff: string;
  state: string;
  from: string;
  to: string | null;
  /** Why it is over, where that says more. */
  reason: string | null;
  at: number;
}

/** The latest handoffs of all these apps, newest first. */
export async function handoffsOf(apps: string[]): Promise<HandoffRow[]> {
  const each = await fromEach(apps, [], async (app) => (await ask<{ handoffs: HandoffRow[] }>(app, "/handoffs")).handoffs);
  return each.flat().sort((one, other) => other.at - one.at);
}

/** Everything the broker keeps, by app: one after another, for there may be a passkey to show. */
export async function keptOf(apps: string[]): Promise<Record<string, unknown>> {
  const kept: Record<string, unknown> = {};
  for (const app of apps) [kept[app]] = await fromEach([app], null, () => withPerson(app, () => ask<unknown>(app, "/export")));
  return kept;
}

/** Does what takes a person who was there just before: with a new token, for the one there is may be from before; and if that is not it, after a passkey. */
async function withPerson<T>(app: string, act: () => Promise<T>): Promise<T> {
  const refused = (error: unknown): boolean => error instanceof Refused && error.code === "insufficient_scope";
  try {
    return await act();
  } catch (error) {
    if (!refused(error)) throw error;
  }
  tokens.delete(app);
  try {
    return await act();
  } catch (error) {
    if (!refused(error)) throw error;
  }
  await signIn();
  tokens.clear();
  return act();
}

/** Ends one, for good. */
export const endSession = ({ app, session }: SessionRow): Promise<unknown> => withPerson(app, () => ask(app, `/sessions/${session}/end`, {}));
export const askHolder = ({ app, session }: SessionRow): Promise<unknown> => ask(app, `/sessions/${session}/ask`, {});

/** A device that has another's session in front puts it away. */
export const unfollow = ({ app, session }: SessionRow, device: string): Promise<unknown> => ask(app, `/sessions/${session}/unfollow`, { device });

/** What a device takes part in. */
export interface Switches {
  /** The others see that it is there. */
  visible: boolean;
  /** They see what it shows. */
  mirroring: boolean;
  /** It has their sessions. */
  sync: boolean;
  /** It hands over what another full device asks for, unasked. */
  gives: boolean;
  /** It goes on with what is handed to it, unasked. */
  takes: boolean;
}

/** A device's switches, as they are until somebody switches one. */
export async function switchesOf({ app, device }: DeviceRow): Promise<Switches> {
  const { devices } = await ask<{ devices: { device: string; switches: Switches }[] }>(app, "/devices");
  return devices.find((one) => one.device === device)?.switches ?? { visible: true, mirroring: true, sync: true, gives: false, takes: false };
}

/** Changes some of them, and gives all. */
export async function setSwitches({ app, device }: DeviceRow, change: Partial<Switches>): Promise<Switches> {
  return (await withPerson(app, () => ask<{ switches: Switches }>(app, `/devices/${device}/switches`, change))).switches;
}
