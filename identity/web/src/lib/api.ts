/** The pages' API (docs/protocol.md §3): JSON, the session in a cookie that scripts cannot read. */

import { Refused } from "@baton/sdk";
import { identity } from "./place.js";

/** Whom this page was loaded for. Another who signs in meanwhile, in another tab for one, is not acted for. */
let account: string | undefined;

/** From here on the page is this person's. */
export function actsFor(signedIn: string): void {
  account = signedIn;
}

/** Whether the page may be this person's. */
export const mayBe = (signedIn: string): boolean => account === undefined || account === signedIn;

async function send<T>(method: "GET" | "POST", path: string, body?: object): Promise<T> {
  const init: RequestInit = { method, credentials: "include", cache: "no-store", redirect: "error" };
  const headers = new Headers();
  init.headers = headers;
  if (account !== undefined) headers.set("baton-account", account);
  if (method === "POST") {
    headers.set("content-type", "application/json");
    init.body = JSON.stringify(body ?? {});
  }
  const answer = await fetch(`${identity}/v1${path}`, init).catch(() => {
    throw new Refused("transport", "unreachable");
  });
  const value: unknown = await answer.json().catch(() => ({}));
  if (answer.ok) return value as T;
  const { code, error } = value as { code?: string; error?: string };
  throw Refused.told(code ?? error ?? "unknown", "refused by the server", answer.status);
}

/** Reads. */
export const get = <T>(path: string): Promise<T> => send("GET", path);
/** Changes something. */
export const post = <T>(path: string, body?: object): Promise<T> => send("POST", path, body);

/** The account. */
export interface Account {
  account: string;
  root: string;
  recovery_confirmed: boolean;
}

/** A device as the list shows it. */
export interface DeviceRow {
  device_id: string;
  device: string;
  app: string;
  client_id: string;
  name: string;
  kind: string;
  tier: "full" | "limited";
  /** What it may do. */
  scopes: string | null;
  enrolled_at: number;
  seen_at: number | null;
  expires_at: number;
  revoked_at: number | null;
}

export const devices = async (): Promise<DeviceRow[]> => (await get<{ devices: DeviceRow[] }>("/devices")).devices;

/** A consent. */
export interface Grant {
  grant: string;
  app: string;
  client_id: string;
  scopes: string;
  /** `device` or `sign-in`. */
  purpose: string;
  until: number;
  given_at: number;
  withdrawn_at: number | null;
}

/** One event of the ledger. */
export interface Happened {
  n: number;
  at: number;
  kind: string;
  detail: { device?: string; from?: string; client?: string };
}

/** A passkey. */
export interface PasskeyRow {
  credential_id: string;
  created_at: number;
  used_at: number | null;
  /** Whether it opens the root. */
  opens: boolean;
}
