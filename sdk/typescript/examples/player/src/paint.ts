/** Draws the player as it is. */

import { clock, draw } from "./film.js";
import { page } from "./page.js";
import type { Player } from "./player.js";
import { words } from "./words.js";

export function paint(player: Player): void {
  const { film, session, isHeld, at } = player;
  page.playing.hidden = false;
  draw(page.screen, { ...film, now: { ...film.now, at } });
  const isShown = session !== undefined || isHeld;
  const where = player.isSaving ? words.isSaving : player.isAway ? words.isKept : isHeld ? words.isHere : words.isElsewhere;
  page.where.value = isShown ? `${player.title}, ${where}` : words.nothingYet;
  page.toggle.textContent = film.now.rate > 0 ? words.pause : words.play;
  if (document.activeElement !== page.position) page.position.value = String(Math.floor(at));
  page.subtitles.checked = film.subtitles;
  for (const control of [page.toggle, page.position, page.subtitles, page.next]) control.disabled = !isHeld;
  for (const control of [page.note, page.addNote]) control.disabled = !player.mayWrite;
  const notes = film.notes.map((note) => `${note.film}, ${clock(note.at)}: ${note.text}`);
  if (notes.join("\n") !== [...page.notes.children].map(({ textContent }) => textContent).join("\n")) {
    page.notes.replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
  const mayHand = session?.isHeld === true && !player.isAway;
  page.handing.hidden = !mayHand || page.target.options.length === 0;
  page.nobody.hidden = !mayHand || page.target.options.length > 0;
  page.waiting.hidden = !player.handing.waiting;
  page.asked.hidden = !player.handing.asked;
  page.bring.hidden = !player.mayBring || !page.claim.hidden;
}
