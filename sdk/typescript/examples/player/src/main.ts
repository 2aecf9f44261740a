/** A small player whose film moves between a person's devices. Everything of Baton it needs is `@baton/sdk`. */

import { Asked, Offered, Refused, Requested, Session, Waiting, issuerFingerprint, keepPresent, listen, type Device, type Needs, type Present, type ReplaceRoot, type Showing } from "@baton/sdk";
import { LENGTH, beginning, draw, read, write, type Film } from "./film.js";
import { join } from "./joining.js";
import { onClick, page, say } from "./page.js";

/** How often a playing film's position is kept, and how often the holder shows that it is there: a lease lasts 45 s. */
const KEEP_EVERY = 5000;
const HEARTBEAT_EVERY = 15_000;

/** A film is for devices that can show it; on a small screen it goes on as well. */
const NEEDS: Needs = { needs: [["video"]], adapts: ["screen:large"] };

class Player {
  film: Film = beginning;
  session: Session | undefined;
  waiting: Waiting | undefined;
  /** Another device asks for the film. */
  asked: Asked | undefined;
  /** This device has asked for it. */
  #requested: Requested | undefined;
  /** The person is replacing their root, and this device is asked to agree. */
  replacing: ReplaceRoot | undefined;
  /** Changes that are not durable yet. */
  #unkept = 0;
  #keeping: Promise<void> = Promise.resolve();
  /** Handoffs that were answered unasked: each once, whatever comes of it. */
  readonly #answered = new Set<string>();
  #lastLook: Promise<void> = Promise.resolve();
  #nextLook: Promise<void> | undefined;

  constructor(readonly device: Device) {}

  /** Shows the newest session of this person, or begins one. */
  async begin(): Promise<void> {
    const live = (await Session.list(this.device)).filter(({ phase, holder }) => phase !== "ended" && (this.device.tier === "full" || holder === this.device.did));
    const newest = live.at(-1);
    if (newest) this.#show(await Session.load(this.device, newest.session));
    else if (this.device.tier === "full") this.#show(await Session.open(this.device, write(beginning), { needs: NEEDS }));
    await this.look();
  }

  /** Changes the film, here and durably. One write after another, each with what is newest. */
  change(change: Partial<Film>): Promise<void> {
    this.film = { ...this.film, ...change };
    this.#unkept++;
    this.paint();
    const kept = this.#keeping.then(async () => {
      try {
        if (!this.session?.isHeld) return;
        const written = await this.session.write(write(this.film));
        if (written.to === "branch") say("The film goes on elsewhere; what you did here is kept beside it.");
      } catch (error) {
        // Another window of this device was quicker: what it wrote is what plays.
        if (!(error instanceof Refused) || error.code !== "state.conflict" || !this.session) throw error;
        this.film = read(this.session.content);
      } finally {
        this.#unkept--;
        this.paint();
      }
    });
    this.#keeping = kept.catch(() => undefined);
    return kept;
  }

  /** Reads how things stand: after an event, and at the start. One look is under way at most, and one waits, for all that happens meanwhile. */
  look(): Promise<void> {
    return (this.#nextLook ??= this.#lastLook.then(() => {
      this.#nextLook = undefined;
      const look = this.#look();
      this.#lastLook = look.catch(() => undefined);
      return look;
    }));
  }

  async #look(): Promise<void> {
    this.waiting = (await Waiting.list(this.device)).find(({ id }) => id !== this.#requested?.id);
    this.asked = (await Asked.list(this.device)).find(({ session }) => session === this.session?.id);
    // A limited device reads what it holds, and nothing it once held.
    if (this.session && (this.session.isHeld || this.device.tier === "full")) await this.session.follow();
    if (this.session && !this.session.isHeld) this.film = { ...read(this.session.content), playing: false };
    await this.#targets();
    this.paint();
    // What the person allowed on their page needs nobody here.
    const { gives, takes } = (await this.device.recentMembers()).unasked;
    const unanswered = (gives && this.asked) || (takes && this.waiting) || undefined;
    if (unanswered === undefined || this.#answered.has(unanswered.id)) return;
    this.#answered.add(unanswered.id);
    void (unanswered === this.asked ? this.give() : this.take()).catch(() => undefined);
  }

  /** Hands the film to another device, which has two minutes to take it. */
  async handOver(to: string): Promise<void> {
    const { session } = this;
    if (!session) return;
    await this.#offer(session, () => Offered.make(session, { device: to }));
  }

  /** Hands it to the device that asked. */
  async give(): Promise<void> {
    const { session, asked } = this;
    if (!session || !asked) return;
    this.asked = undefined;
    await this.#offer(session, () => Offered.agree(session, asked));
  }

  async keep(): Promise<void> {
    await this.asked?.decline();
    await this.look();
  }

  /** Asks whoever has the film for it. */
  async bring(): Promise<void> {
    const { session } = this;
    if (!session) return;
    this.#requested = await Requested.make(session);
    say("Asked. Say yes on the other device …");
    this.paint();
    try {
      const here = await this.#requested.take();
      if (here) this.#show(here);
      say(here ? "Your film goes on here." : `It stays there (${(await this.#requested.state()).reason ?? "withdrawn"}).`);
    } finally {
      this.#requested = undefined;
      this.paint();
    }
  }

  async #offer(session: Session, make: () => Promise<Offered>): Promise<void> {
    await this.change({ playing: false });
    if (!session.isHeld) return;
    const offered = await make();
    say("Waiting for the other device …");
    say((await offered.finish()) ? "Your film goes on there." : "It was not taken.");
    await this.look();
  }

  /** Takes the film that waits. */
  async take(): Promise<void> {
    const { waiting } = this;
    if (!waiting) return;
    const session = await waiting.take();
    this.#show(session);
    this.waiting = undefined;
    say(session.adapt.length === 0 ? "Your film goes on here." : "Your film goes on here, on a small screen.");
    this.paint();
  }

  #show(session: Session): void {
    this.session = session;
    this.film = read(session.content);
    this.paint();
  }

  async #targets(): Promise<void> {
    // What the others can is told to full devices alone.
    const takers = this.session && this.device.tier === "full" ? await this.session.takers() : undefined;
    const members = takers ? await this.device.recentMembers() : await this.device.members();
    const all = members.live.filter((did) => did !== this.device.did);
    const others = takers?.map(({ device }) => device) ?? all;
    const label = (did: string): string => members.labels.find((one) => one.device === did)?.name ?? did.slice(-8);
    page.target.replaceChildren(...others.map((did) => new Option(label(did), did, false, did === page.target.value)));
    this.#asks(members.replaceRoot);
    page.from.textContent = this.waiting ? label(this.waiting.from) : "";
    page.by.textContent = this.asked ? label(this.asked.by) : "";
  }

  /** Whether the person's page asks something of this device. */
  async lookForQuestions(): Promise<void> {
    this.#asks((await this.device.members()).replaceRoot);
  }

  #asks(asked: ReplaceRoot | undefined): void {
    if (asked?.to === this.replacing?.to) return;
    this.replacing = asked;
    page.fingerprint.textContent = asked ? issuerFingerprint(asked.to) : "";
    page.replacing.hidden = !asked;
  }

  /** The person compared the fingerprints. */
  async agree(): Promise<void> {
    if (!this.replacing) return;
    await this.device.agree(this.replacing);
    page.replacing.hidden = true;
    say("Agreed. Your page goes on.");
  }

  /** What this window has in front, for the person's other devices. */
  showing(): Showing | undefined {
    return this.session && { session: this.session, view: new TextEncoder().encode(this.#title()) };
  }

  /** The person wants this film away from here. */
  putAway(): void {
    if (this.session?.isHeld) return;
    this.session = undefined;
    this.film = beginning;
    say("You put this film away on your Baton page.");
    this.paint();
  }

  /** The other devices that are there, and what they show. */
  async others(present: Present[]): Promise<void> {
    const { labels } = await this.device.recentMembers();
    const line = async (one: Present): Promise<string> => {
      const view = await this.session?.viewOn(one).catch(() => undefined);
      const name = labels.find(({ device }) => device === one.device)?.name ?? one.device.slice(-8);
      return [name, one.status, ...(view ? [new TextDecoder().decode(view)] : [])].join(", ");
    };
    const lines = await Promise.all(present.map(line));
    page.there.replaceChildren(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }

  #title(): string {
    return `${this.film.queue[0] ?? ""}, ${Math.floor(this.film.position / 60)}:${String(Math.floor(this.film.position % 60)).padStart(2, "0")}`;
  }

  /** Draws everything as it is. */
  paint(): void {
    const { film, session } = this;
    const held = session?.isHeld ?? false;
    page.playing.hidden = false;
    draw(page.screen, film);
    page.where.value = session ? `${this.#title()}, ${!held ? "on another device" : this.#unkept > 0 ? "saving …" : "here"}` : "Nothing plays yet";
    page.toggle.textContent = film.playing ? "Pause" : "Play";
    page.position.value = String(Math.floor(film.position));
    page.subtitles.checked = film.subtitles;
    for (const control of [page.toggle, page.position, page.subtitles, page.next]) control.disabled = !held;
    page.handing.hidden = !held || page.target.options.length === 0;
    page.waiting.hidden = !this.waiting;
    page.asked.hidden = !this.asked;
    page.bring.hidden = !session || held || this.device.tier !== "full" || this.#requested !== undefined || !page.claim.hidden;
  }
}

async function main(): Promise<void> {
  const device = await join();
  page.joining.hidden = true;
  say("");
  const player = new Player(device);
  onClick(page.toggle, () => player.change({ playing: !player.film.playing }));
  onClick(page.next, () => player.change({ queue: [...player.film.queue.slice(1), ...player.film.queue.slice(0, 1)], position: 0 }));
  onClick(page.hand, () => player.handOver(page.target.value));
  onClick(page.take, () => player.take());
  onClick(page.give, () => player.give());
  onClick(page.keep, () => player.keep());
  onClick(page.bring, () => player.bring());
  onClick(page.agree, () => player.agree());
  onClick(page.decline, async () => {
    await player.waiting?.decline("unwanted");
    await player.look();
  });
  onClick(page.claim, async () => {
    await player.session?.claim();
    page.claim.hidden = true;
    player.paint();
  });
  const change = (film: Partial<Film>): void => void player.change(film).catch((error: unknown) => say(String(error)));
  page.position.addEventListener("change", () => change({ position: Number(page.position.value) }));
  page.subtitles.addEventListener("change", () => change({ subtitles: page.subtitles.checked }));

  // What is shown can be used.
  await player.begin();

  let kept = performance.now();
  let drawn = kept;
  const frame = (now: number): void => {
    if (player.film.playing && player.session?.isHeld) {
      player.film.position = Math.min(LENGTH, player.film.position + (now - drawn) / 1000);
      player.paint();
      if (now - kept > KEEP_EVERY) {
        kept = now;
        change({});
      }
    }
    drawn = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  setInterval(() => void player.session?.heartbeat().catch(() => undefined), HEARTBEAT_EVERY);
  setInterval(() => void player.lookForQuestions().catch(() => undefined), HEARTBEAT_EVERY);

  const presence = keepPresent(device, () => player.showing());
  setInterval(() => void (player.film.playing && presence.tell().catch(() => undefined)), KEEP_EVERY);
  for await (const event of listen(device, { presence: true })) {
    if (event.type === "presence") {
      await player.others(event.devices).catch(() => undefined);
      continue;
    }
    if (event.type === "event" && event.kind === "session.unfollow" && event.device === device.did && event.session === player.session?.id) player.putAway();
    if (event.type === "event" && event.kind === "session.detached") page.claim.hidden = device.tier !== "full";
    const { session } = player;
    if (event.type === "event" && event.kind === "session.asked" && session?.isHeld && event.session === session.id) {
      say("You asked for this film elsewhere: choose a device and hand it over.");
      page.target.focus();
    }
    void player.look().catch((error: unknown) => say(error instanceof Error ? error.message : String(error)));
    void presence.tell().catch(() => undefined);
    // Whoever tricked the person into letting a device in is found out here.
    if (event.type === "event" && event.kind === "device.enrolled" && device.tier === "full") say("A device of yours was added. If that wasn't you, revoke it on your Baton page.");
    if (event.type === "event" && event.kind === "root.replaced") say("Your root was replaced. If that wasn't you, look at your Baton page.");
  }
}

main().catch((error: unknown) => {
  const revoked = error instanceof Refused && error.code === "status.revoked";
  say(revoked ? "This device was revoked." : error instanceof Error ? error.message : String(error));
});
