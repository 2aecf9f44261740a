/** The page's elements, by id. */

import { Refused } from "@baton/sdk";
import { words } from "./words.js";

const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

export const page = {
  said: byId("said"),
  joining: byId("joining"),
  name: byId<HTMLInputElement>("name"),
  here: byId<HTMLButtonElement>("here"),
  elsewhere: byId<HTMLButtonElement>("elsewhere"),
  codes: byId("codes"),
  link: byId<HTMLAnchorElement>("link"),
  code: byId<HTMLOutputElement>("code"),
  check: byId<HTMLOutputElement>("check"),
  playing: byId("playing"),
  screen: byId<HTMLCanvasElement>("screen"),
  where: byId<HTMLOutputElement>("where"),
  toggle: byId<HTMLButtonElement>("toggle"),
  position: byId<HTMLInputElement>("position"),
  subtitles: byId<HTMLInputElement>("subtitles"),
  next: byId<HTMLButtonElement>("next"),
  note: byId<HTMLInputElement>("note"),
  addNote: byId<HTMLButtonElement>("add-note"),
  notes: byId<HTMLUListElement>("notes"),
  handing: byId("handing"),
  target: byId<HTMLSelectElement>("target"),
  hand: byId<HTMLButtonElement>("hand"),
  nobody: byId("nobody"),
  bring: byId<HTMLButtonElement>("bring"),
  claim: byId<HTMLButtonElement>("claim"),
  asked: byId("asked"),
  by: byId("by"),
  give: byId<HTMLButtonElement>("give"),
  keep: byId<HTMLButtonElement>("keep"),
  replacing: byId("replacing"),
  fingerprint: byId("fingerprint"),
  agree: byId<HTMLButtonElement>("agree"),
  waiting: byId("waiting"),
  from: byId("from"),
  take: byId<HTMLButtonElement>("take"),
  there: byId<HTMLUListElement>("there"),
  decline: byId<HTMLButtonElement>("decline"),
  away: byId("away"),
  changes: byId<HTMLUListElement>("changes"),
  seen: byId<HTMLButtonElement>("seen"),
};

/** Says what happens, to eyes and screen readers. */
export function say(text: string): void {
  page.said.textContent = text;
}

export function tellError(error: unknown): void {
  if (error instanceof Refused && error.code === "transport") say(words.unreachable);
  else say(error instanceof Error ? error.message : String(error));
}

/** Runs what a button starts; what it throws is said. */
export function onClick(button: HTMLButtonElement, act: () => Promise<void>): void {
  button.addEventListener("click", () => {
    button.disabled = true;
    act()
      .catch(tellError)
      .finally(() => (button.disabled = false));
  });
}
