/** The film goes from this device to another, and comes from there. */

import { Asked, Offered, Requested, Waiting, type Session } from "@baton/sdk";
import { say, tellError } from "./page.js";
import type { Player } from "./player.js";
import { why } from "./why.js";
import { words } from "./words.js";

export class Handing {
  /** It waits here to be taken. */
  waiting: Waiting | undefined;
  /** Another device asks for it. */
  asked: Asked | undefined;
  /** This device has asked for it. */
  #requested: Requested | undefined;
  /** What this window had offered before it was loaded anew is gone on with, once. */
  #isNew = true;
  /** What was answered unasked: each once, whatever comes of it. */
  readonly #answered = new Set<string>();

  constructor(private readonly player: Player) {}

  get isAsking(): boolean {
    return this.#requested !== undefined;
  }

  /** Reads what is under way. */
  async look(): Promise<void> {
    const { device, session } = this.player;
    this.waiting = (await Waiting.list(device)).find(({ id }) => id !== this.#requested?.id);
    this.asked = (await Asked.list(device)).find((asked) => asked.session === session?.id);
    if (!session || !this.#isNew) return;
    this.#isNew = false;
    const standing = await Offered.standing(session);
    if (standing) void this.#finish(standing).catch(tellError);
  }

  /** What the person allowed on their page needs nobody here. */
  async answerUnasked(): Promise<void> {
    const { gives, takes } = (await this.player.device.recentMembers()).unasked;
    const unanswered = (gives && this.asked) || (takes && this.waiting) || undefined;
    if (unanswered === undefined || this.#answered.has(unanswered.id)) return;
    this.#answered.add(unanswered.id);
    void (unanswered === this.asked ? this.give() : this.take()).catch(() => undefined);
  }

  /** Hands it to another device, which has two minutes to take it. */
  async over(to: string): Promise<void> {
    const { session } = this.player;
    if (session) await this.#offer(session, () => Offered.make(session, { device: to }));
  }

  /** Hands it to the device that asked. */
  async give(): Promise<void> {
    const { asked } = this;
    const { session } = this.player;
    if (!session || !asked) return;
    this.asked = undefined;
    await this.#offer(session, () => Offered.agree(session, asked));
  }

  async keep(): Promise<void> {
    await this.asked?.decline();
    await this.player.look();
  }

  async decline(): Promise<void> {
    await this.waiting?.decline("unwanted");
    await this.player.look();
  }

  async #offer(session: Session, make: () => Promise<Offered>): Promise<void> {
    this.#isNew = false;
    await this.player.move({ rate: 0 });
    if (!session.isHeld) return;
    await this.#finish(await make());
  }

  async #finish(offered: Offered): Promise<void> {
    say(words.waitingForOther);
    say((await offered.finish()) ? words.goesOnThere : words.staysHere(why(await offered.state())));
    await this.player.look();
  }

  /** Asks whoever has it for it. */
  async bring(): Promise<void> {
    const { session } = this.player;
    if (!session) return;
    this.#requested = await Requested.make(session);
    say(words.asked);
    this.player.paint();
    try {
      const here = await this.#requested.take();
      if (here) await this.player.take(here);
      say(here ? words.goesOnHere : words.staysThere(why(await this.#requested.state())));
    } finally {
      this.#requested = undefined;
      this.player.paint();
    }
  }

  /** Takes what waits. */
  async take(): Promise<void> {
    const { waiting } = this;
    if (!waiting) return;
    const session = await waiting.take();
    await this.player.take(session);
    this.waiting = undefined;
    say(session.adapt.length === 0 ? words.goesOnHere : words.onSmallScreen);
    this.player.paint();
  }
}
