/** Devices against a real server: enrolled by both lanes, kept in memory. */

import assert from "node:assert/strict";
import WebSocket from "ws";
import { Device, Http, MemoryStore, Offered, Refused, Session, Waiting, enrolElsewhere, enrolHere, redeemHere, serversAt, type Asking, type Socket, type Store, type Surroundings } from "../src/index.js";
import { hurried, type Server } from "./server.js";

export const SCOPE = "session:read session:write handoff:offer handoff:accept presence";
export const CALLBACK = "http://127.0.0.1:9/callback";

/** Nobody waits, and Node 20 has a WebSocket. */
export const around: Surroundings = { ...hurried, socket: (url) => new WebSocket(url) as unknown as Socket };

export function asking(server: Server, name: string): Asking {
  return { http: new Http(around), servers: serversAt(server.url), clientId: "baton-cli", claims: { name, kind: "browser" }, scope: SCOPE };
}

/** Lane 1. */
export async function full(server: Server, name: string, store?: Store): Promise<Device> {
  const asked = { ...asking(server, name), ...(store ? { store } : {}) };
  const here = await enrolHere(asked, CALLBACK);
  const redirected = await server.approve(here.url, "yes");
  assert.ok(redirected);
  return redeemHere(asked, here.pending, redirected);
}

/** Lane 2. */
export async function limited(server: Server, name: string): Promise<Device> {
  const asked = await enrolElsewhere(asking(server, name));
  await server.approve(asked.userCode, asked.checkCode);
  return asked.redeem();
}

/** The same device, started again over what it kept. */
export async function restarted(device: Device, http = new Http(around)): Promise<Device> {
  const store = new MemoryStore();
  await store.save(device.kept);
  const again = await Device.load(store, http);
  assert.ok(again);
  return again;
}

/** Refused with that code. */
export const refusal = (code: string) => (error: unknown) => error instanceof Refused && error.code === code;

/** A session's content. */
export const text = (session: Session): string => new TextDecoder().decode(session.content);

/** Hands a session from its holder to another device, which gives it back as its own. */
export async function handOver(session: Session, to: Device): Promise<Session> {
  const offered = await Offered.make(session, { device: to.did });
  const waiting = (await Waiting.list(to)).find((one) => one.id === offered.id);
  assert.ok(waiting);
  const [finished, taken] = await Promise.all([offered.finish(), waiting.take()]);
  assert.ok(finished);
  return taken;
}
