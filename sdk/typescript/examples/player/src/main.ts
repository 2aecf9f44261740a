/** A small player whose film moves between a person's devices. Everything of Baton it needs is `@baton/sdk`. */

import { Refused, keepPresent, listen } from "@baton/sdk";
import { next } from "./film.js";
import { join } from "./joining.js";
import { onClick, page, say, tellError } from "./page.js";
import { Player } from "./player.js";
import { translate, words } from "./words.js";

/** How often a running film's place is kept, which also shows that its holder is there: a lease lasts 45 s. */
const KEEP_EVERY = 15_000;

/** What the person does here. */
function wire(player: Player): void {
  onClick(page.toggle, () => player.move({ rate: player.film.now.rate > 0 ? 0 : 1 }));
  onClick(page.next, () => player.move(next(player.film)));
  onClick(page.addNote, async () => {
    const text = page.note.value.trim();
    if (text === "") return;
    page.note.value = "";
    await player.note(text);
  });
  onClick(page.seen, async () => {
    page.away.hidden = true;
    page.changes.replaceChildren();
  });
  onClick(page.hand, () => player.handing.over(page.target.value));
  onClick(page.take, () => player.handing.take());
  onClick(page.give, () => player.handing.give());
  onClick(page.keep, () => player.handing.keep());
  onClick(page.bring, () => player.handing.bring());
  onClick(page.agree, () => player.agree());
  onClick(page.decline, () => player.handing.decline());
  onClick(page.claim, () => player.claim());
  page.position.addEventListener("change", () => void player.move({ at: Number(page.position.value) }).catch(tellError));
  page.subtitles.addEventListener("change", () => {
    const isOn = page.subtitles.checked;
    void player.edit((reel) => reel.set("subtitles", isOn)).catch(tellError);
  });
  addEventListener("offline", () => player.lose());
}

async function main(): Promise<void> {
  translate();
  const device = await join();
  page.joining.hidden = true;
  say("");
  const player = new Player(device);
  wire(player);
  // What is shown can be used.
  await player.look();

  const frame = (): void => {
    if (player.film.now.rate > 0) player.paint();
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  setInterval(() => {
    if (player.film.now.rate > 0 && player.isHeld) void player.move({}).catch(() => undefined);
    else void player.session?.heartbeat().catch(() => undefined);
    if (player.isUnsaved) void player.look().catch(() => undefined);
    void player.lookForQuestions().catch(() => undefined);
  }, KEEP_EVERY);

  const presence = keepPresent(device, () => player.showing());
  for await (const event of listen(device, { presence: true, outbox: player.outbox })) {
    if (event.type === "presence") {
      await player.others(event.devices).catch(() => undefined);
      continue;
    }
    if (event.type === "volatile") {
      // Of an epoch or a key that this device does not know yet, an event tells as well.
      await player.hear(event).catch(() => undefined);
      continue;
    }
    if (event.type === "event" && event.kind === "session.unfollow" && event.device === device.did && event.session === player.session?.id) player.putAway();
    if (event.type === "event" && event.kind === "session.detached") page.claim.hidden = device.tier !== "full";
    const { session } = player;
    if (event.type === "event" && event.kind === "session.asked" && session?.isHeld && event.session === session.id) {
      say(words.askedElsewhere);
      page.target.focus();
    }
    void player.look().catch(tellError);
    void presence.tell().catch(() => undefined);
    // Whoever tricked the person into letting a device in is found out here.
    if (event.type === "event" && event.kind === "device.enrolled" && device.tier === "full") say(words.added);
    if (event.type === "event" && event.kind === "root.replaced") say(words.replaced);
  }
}

main().catch((error: unknown) => {
  const revoked = error instanceof Refused && error.code === "status.revoked";
  if (revoked) say(words.revoked);
  else tellError(error);
});
