/** What happened while this device was away: who wrote, what came together, and what is for the person to choose. */

import type { Changes } from "@baton/sdk/document";
import { clock, type Film, type Now } from "./film.js";
import { page } from "./page.js";
import { words } from "./words.js";

/** What the person may do about it. */
export interface Choice {
  says: string;
  button: string;
  act: () => Promise<void>;
}

/** How the film stood on this device, and how it stands now. */
export interface Between {
  before: Film;
  after: Film;
  /** Nobody was told meanwhile: then what the others wrote is told as well. */
  wasAway: boolean;
}

const where = ({ film, at }: Now): string => `${film}, ${clock(at)}`;

/** Puts {@link Changes} into words. What was told before is not told again. */
export class Summary {
  readonly #told = new Set<string>();

  constructor(
    private readonly nameOf: (device: string) => string,
    private readonly goTo: (now: Now) => Promise<void>,
    private readonly takeIn: (content: Uint8Array) => Promise<void>,
  ) {}

  /** Shows what there is to tell, if there is anything. */
  show({ by, late, outdone, setAside }: Changes, { before, after, wasAway }: Between): void {
    const lines: string[] = [];
    const choices: Choice[] = [];
    if (setAside) lines.push(words.setAside);
    const writers = [...new Set([...by, ...late.filter(({ outcome }) => outcome.is === "merged").map(({ device }) => device)])];
    const notes = after.notes.length - before.notes.length;
    if (wasAway && by.length > 0) lines.push(words.wrote(writers.map(this.nameOf).join(", "), Math.max(notes, 0)));
    if (wasAway && by.length > 0 && where(before.now) !== where(after.now)) lines.push(words.moved(where(before.now), where(after.now)));
    const outdoneBy = (device: string, value: unknown): void => {
      const now = { ...after.now, ...(value as Partial<Now>) };
      if (where(now) === where(after.now)) return;
      choices.push({ says: words.wasAt(this.nameOf(device), where(now)), button: words.goThere(where(now)), act: () => this.goTo({ ...now, rate: 0 }) });
    };
    for (const { name, by, value } of outdone) if (name === "now") outdoneBy(by, value);
    const met = new Map<string, number>();
    for (const { device, epoch, outcome } of late) {
      const kind = `${device} ${epoch} ${outcome.is}`;
      // Several of one kind come in one order each time.
      const nth = met.get(kind) ?? 0;
      met.set(kind, nth + 1);
      const id = `${kind} ${nth}`;
      if (outcome.is === "known" || this.#told.has(id)) continue;
      this.#told.add(id);
      if (outcome.is === "unreadable") lines.push(words.unreadable(this.nameOf(device)));
      else if (outcome.is === "merged") {
        lines.push(words.merged(this.nameOf(device)));
        for (const { name, value } of outcome.outdone) if (name === "now") outdoneBy(device, value);
      } else choices.push({ says: words.isBeside(this.nameOf(device)), button: words.takeIn, act: () => this.takeIn(outcome.content) });
    }
    if (lines.length + choices.length > 0) this.#paint(lines, choices);
  }

  #paint(lines: string[], choices: Choice[]): void {
    const line = (text: string): HTMLLIElement => Object.assign(document.createElement("li"), { textContent: text });
    const chosen = choices.map(({ says, button, act }) => {
      const item = line(`${says} `);
      const choose = Object.assign(document.createElement("button"), { textContent: button });
      choose.addEventListener("click", () => {
        choose.disabled = true;
        void act().then(
          () => item.remove(),
          (error: unknown) => {
            choose.disabled = false;
            item.append(` ${error instanceof Error ? error.message : String(error)}`);
          },
        );
      });
      item.append(choose);
      return item;
    });
    // What nobody has looked at yet stays.
    page.changes.append(...lines.map(line), ...chosen);
    page.away.hidden = false;
  }
}
