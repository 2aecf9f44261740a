/** Presence: how this device is, what it has in front, and who else is there (docs/protocol.md §9). */

import type { Device } from "./device.js";
import { Refused } from "./refused.js";
import type { Session } from "./session/session.js";
import type { SealedView } from "./session/view.js";

/** How a device is. */
export type Status = "online" | "away" | "offline";

/** Another device of the person that is there, by the broker's word. */
export interface Present {
  device: string;
  status: Exclude<Status, "offline">;
  /** The session it has in front. */
  session?: string;
  /** What it shows of it: {@link Session.viewOn} opens it. */
  view?: SealedView;
}

/** What a device has in front. */
export interface Showing {
  session: Session;
  /** What it shows: a title, a position; at most 2046 bytes, sealed to those who have the session, and to nobody while the person lets this device show nothing. */
  view?: Uint8Array;
}

/** Says how this device is. Counts for 45 s, or as long as it listens to events. */
export async function sayPresent(device: Device, status: Status, showing?: Showing): Promise<void> {
  // What nobody is to see is not left to the broker to keep from them.
  const view = showing?.view && (await shows(device)) ? await showing.session.sealView(showing.view) : undefined;
  const said = { status, ...(showing ? { session: showing.session.id } : {}) };
  const say = (json: object): Promise<unknown> => device.broker({ scope: "presence", path: "/v1/presence", json });
  await say(view ? { ...said, view } : said).catch((error: unknown) => {
    // Under a key that is good no more nothing is shown; that it is there is said all the same.
    if (!(error instanceof Refused) || error.code !== "state.rekey_required") throw error;
    return say(said);
  });
}

async function shows(device: Device): Promise<boolean> {
  return device.recentMembers().then(
    (members) => members.shows,
    () => false,
  );
}

/** The person's other devices that are there, as far as the person lets this one see them. */
export async function presentDevices(device: Device): Promise<Present[]> {
  return (await device.broker<{ devices: Present[] }>({ scope: "presence", path: "/v1/presence" })).devices;
}

/** What is used of a page's document and window. */
export interface Surface {
  document: Pick<Document, "visibilityState" | "addEventListener" | "removeEventListener">;
  window: Pick<Window, "addEventListener" | "removeEventListener">;
}

/** Keeps the others told. */
export interface Presence {
  /** Says how this device is now: call it when what is in front changes, and when a stream has opened. */
  tell(): Promise<void>;
  /** Stops looking. */
  stop(): void;
}

/**
 * Tells of a page: `online` while somebody may be looking at it, `away` when it is hidden; anew when it is shown again, comes out of the browser's
 * cache, or the network is back. `showing` is asked each time what is in front. That it could not be told is for the next time.
 */
export function keepPresent(device: Device, showing: () => Showing | undefined, { document, window }: Surface = globalThis): Presence {
  let stopped = false;
  let last: Promise<void> = Promise.resolve();
  let waiting: Promise<void> | undefined;
  const say = async (): Promise<void> => {
    if (stopped) return;
    const visible = document.visibilityState === "visible";
    await sayPresent(device, visible ? "online" : "away", visible ? showing() : undefined);
  };
  // One is under way at most, and one waits, which says how it is by then.
  const tell = (): Promise<void> =>
    (waiting ??= last.then(() => {
      waiting = undefined;
      const told = say();
      last = told.catch(() => undefined);
      return told;
    }));
  const look = (): void => void tell().catch(() => undefined);
  document.addEventListener("visibilitychange", look);
  for (const event of ["pageshow", "online"]) window.addEventListener(event, look);
  return {
    tell,
    stop() {
      stopped = true;
      document.removeEventListener("visibilitychange", look);
      for (const event of ["pageshow", "online"]) window.removeEventListener(event, look);
    },
  };
}
