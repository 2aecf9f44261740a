/** Handoffs as the broker shows them. */

import type { Device } from "../device.js";
import { listen } from "../events.js";

/** Whom an offer names: one device by its DID, several, or any full one: the first to accept. */
export type Target = { device: string } | { any_of: string[] } | "any_full";

/** How far a handoff is (docs/lifecycle.md). */
export type HandoffState = "requested" | "offered" | "accepted" | "sealed" | "completed" | "declined" | "cancelled" | "expired" | "void" | "reclaimed";

/** Why a target declines what it is offered, or a holder what it is asked for. */
export type Declining = "unwanted" | "busy" | "unable";

/** Why a handoff is over, where that says more than its state. */
export type Reason = Declining | "unanswered" | "elsewhere" | "nobody_came" | "not_sealed" | "revoked" | "claimed" | "ended" | "not_synced" | "not_taken";

/** A handoff as the broker shows it. */
export interface Shown {
  handoff: string;
  session: string;
  state: HandoffState;
  from: string;
  to: Target;
  by: string | null;
  reason: Reason | null;
  /** None as long as it is only asked for. */
  offer: string | null;
  presentation: string | null;
}

/** States that something can still come of. */
export const UNDER_WAY: HandoffState[] = ["requested", "offered", "accepted", "sealed"];

/** How often a handoff is looked at without news: that an offer has expired is told by nobody. */
const LOOK_EVERY = 5000;

/** Waits until a handoff has come this far, or to its end, or for so many seconds; says where it is. */
export async function reach(device: Device, id: string, wanted: Shown["state"][], seconds = Infinity): Promise<Shown["state"]> {
  const until = device.http.seconds() + seconds;
  const stop = new AbortController();
  const frames = listen(device, { signal: stop.signal });
  let next = frames.next();
  try {
    for (;;) {
      const { state } = await show(device, id);
      if (wanted.includes(state) || !UNDER_WAY.includes(state) || device.http.seconds() >= until) return state;
      const told = await Promise.race([next.then(() => true), device.http.around.pause(LOOK_EVERY)]);
      if (told === true) next = frames.next();
    }
  } finally {
    stop.abort();
    // Whatever it was waiting for does not matter any more.
    next.catch(() => undefined);
    frames.return().catch(() => undefined);
  }
}

/** The handoffs under way that concern a device. */
export async function all(device: Device): Promise<Shown[]> {
  return (await device.broker<{ handoffs: Shown[] }>({ scope: "session:read", path: "/v1/handoffs" })).handoffs;
}

/** One handoff. */
export function show(device: Device, id: string): Promise<Shown> {
  return device.broker({ scope: "session:read", path: `/v1/handoffs/${id}` });
}
