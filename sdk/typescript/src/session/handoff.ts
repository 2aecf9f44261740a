/** Handing over and taking over. Source and target each check the other themselves; the broker is not believed (docs/protocol.md §8). */

import { decodeExactly, encode } from "../base64url.js";
import { agreed, verifyPresentation } from "../credential.js";
import { Device } from "../device.js";
import { newId } from "../id.js";
import { signBy, verifyBy } from "../jws.js";
import { PublicKey, hash } from "../key.js";
import { Refused } from "../refused.js";
import type { Act } from "./chain.js";
import { receiptProof } from "./key.js";
import { makeEnvelope } from "./reading.js";
import { Session } from "./session.js";
import { all, reach, show, type Declining, type HandoffState, type Reason, type Shown, type Target } from "./shown.js";

/** Most devices that one offer names. */
const MOST_NAMED = 16;

/** The devices a target names, if it names any. */
function named(to: Target): string[] {
  return to === "any_full" ? [] : "device" in to ? [to.device] : to.any_of;
}

/** What a source signs. Members stand in the order in which they are signed. */
interface Offer {
  v: 1;
  handoff: string;
  session: string;
  epoch: number;
  from: string;
  to: Target;
  challenge: string;
}

/** An offer this device made. */
export class Offered {
  private constructor(
    private readonly session: Session,
    private readonly offer: Offer,
    private readonly hash: string,
    /** It is the target that named itself, not the person. */
    private readonly isAskedFor = false,
  ) {}

  /** Offers a session that this device holds. */
  static make(session: Session, to: Target): Promise<Offered> {
    const { http } = session.device;
    return Offered.#as(newId("hof", http.seconds() * 1000, http.around.random), session, to, false);
  }

  /** Offers it to the device that asked. */
  static agree(session: Session, { id, by }: { id: string; by: string }): Promise<Offered> {
    return Offered.#as(id, session, { device: by }, true);
  }

  static async #as(handoff: string, session: Session, to: Target, isAskedFor: boolean): Promise<Offered> {
    const { device, id } = session;
    const challenge = encode(device.http.around.random(16));
    const offer: Offer = { v: 1, handoff, session: id, epoch: session.heldEpoch(), from: device.did, to, challenge };
    const text = await signBy("baton-offer+jwt", device.signer, offer);
    const offerHash = hash(JSON.stringify(offer));
    const audience = device.kept.servers.broker;
    const data = [agreed("baton.offer", { offer_hash: offerHash })];
    // Before anything can come of it: a page that was loaded anew knows what was offered, and who named the target.
    await device.setHanding(id, { handoff, isAskedFor });
    try {
      await device.presenting(async () => {
        const presentation = await device.present({ audience, nonce: await device.nonce(audience), data });
        return device.broker({ scope: "handoff:offer", path: "/v1/handoffs", session: id, json: { offer: text, presentation } });
      });
    } catch (error) {
      // The answer to the same offer may have been lost before.
      const standing = error instanceof Refused && ["handoff.state", "handoff.exists"].includes(error.code) ? await Offered.#same(session, offer) : undefined;
      if (!standing) throw error;
      await device.setHanding(id, { handoff: standing.id, isAskedFor: false });
      return standing;
    }
    return new Offered(session, offer, offerHash, isAskedFor);
  }

  /** What this device has offered of a session, and not taken back, and is under way: how a page that was loaded anew goes on where it was. */
  static async standing(session: Session): Promise<Offered | undefined> {
    const { device, id, chain } = session;
    const handing = await device.handing(id);
    if (!handing) return undefined;
    for (const shown of await all(device)) {
      if (shown.offer === null || shown.session !== id) continue;
      const { offer, hash } = readOffer(shown.offer);
      const isOwn = offer.from === device.did && offer.session === id && offer.epoch === chain.epoch;
      if (isOwn && offer.handoff === handing.handoff) return new Offered(session, offer, hash, handing.isAskedFor);
    }
    return undefined;
  }

  /** What this device has offered already, if it is this very handoff but for its name and challenge. */
  static async #same(session: Session, wanted: Offer): Promise<Offered | undefined> {
    for (const shown of await all(session.device)) {
      if (shown.offer === null) continue;
      const { offer, hash } = readOffer(shown.offer);
      const same = JSON.stringify({ ...wanted, handoff: offer.handoff, challenge: offer.challenge }) === JSON.stringify(offer);
      if (same && ["offered", "accepted", "sealed"].includes(shown.state)) return new Offered(session, offer, hash);
    }
    return undefined;
  }

  /** The handoff's id. */
  get id(): string {
    return this.offer.handoff;
  }

  /** How far it is, who accepted, and, once it is over, why. */
  async state(): Promise<{ state: HandoffState; by: string | null; reason: Reason | null }> {
    return show(this.session.device, this.id);
  }

  /**
   * Waits for the other device to accept, seals, and waits until it holds the session. False when it was declined or nobody came in time: then this
   * device holds it still, or again.
   */
  async finish(): Promise<boolean> {
    const { device } = this.session;
    const state = await reach(device, this.id, ["accepted", "sealed"]);
    if (state === "accepted") await this.seal();
    else if (state !== "sealed") return state === "completed";
    if ((await reach(device, this.id, ["completed"], RECLAIM_SECS)) === "completed") return true;
    try {
      await this.reclaim();
      return false;
    } catch (error) {
      // Receipt and reclaim compete: the other one was quicker.
      if ((await this.state()).state === "completed") return true;
      throw error;
    }
  }

  /** Checks the target, seals the present content to it, and releases. From then on this device does not write. */
  async seal(): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.session.alone(() => this.#seal());
      } catch (error) {
        const isBehind = error instanceof Refused && error.code === "state.conflict" && this.session.chain.mode === "shared";
        if (!isBehind || tries >= SEALS) throw error;
        // Another device wrote into it meanwhile.
        await this.session.reread();
      }
    }
  }

  async #seal(): Promise<void> {
    const { session } = this;
    const { device } = session;
    const shown = await show(device, this.id);
    if (shown.state !== "accepted") throw new Refused("handoff.state", "not accepted");
    const to = await this.#checkTarget(shown);
    const epoch = session.heldEpoch();
    await session.snapshot();
    const members = await device.members();
    const { key, head } = session;
    const envelope = session.recipients.has(to) ? undefined : (await makeEnvelope(device, members, session.id, key, to)).envelope;
    const brought = envelope === undefined ? {} : { envelope: hash(envelope) };
    const act: Act = { kind: "release", handoff: this.id, head, key_version: key.version, ...brought, to };
    const signed = await session.sign(epoch, act);
    // Signed and sent: unless it is refused outright, this device has released. What became of it is read with `follow`.
    session.hold(false);
    try {
      await session.take(await this.#post("seal", { statement: signed.text, ...(envelope === undefined ? {} : { envelope }) }), signed);
    } catch (error) {
      const refusedOutright = error instanceof Refused && error.status !== undefined && error.status >= 400 && error.status < 500;
      if (refusedOutright) session.hold();
      throw error;
    }
  }

  /** The target's presentation, checked by this device: over this very handoff, by a live member of this device's own log, with a fresh status. */
  async #checkTarget({ by, presentation }: Shown): Promise<string> {
    const { device } = this.session;
    const { to } = this.offer;
    if (by === null || (to !== "any_full" && !named(to).includes(by))) throw new Refused("handoff.target", "another target");
    const data = [acceptData(this.offer, this.hash, by)];
    const occasion = { audience: device.kept.servers.broker, nonce: this.offer.challenge, data };
    const credential = verifyPresentation(presentation ?? "", occasion, device.http.seconds());
    await device.needValid(credential.status);
    const members = await device.members();
    const member = members.members.find((one) => one.device === by);
    const same = credential.key.did === by && credential.iss === members.issuer && credential.log === members.subject && credential.tier === member?.tier;
    // "Any full one" is what the person said, and a full one is who may ask.
    const may = (to !== "any_full" && !this.isAskedFor) || Device.syncs(members, by);
    if (!same || !may || !members.live.includes(by)) throw new Refused("log.not_member", "not member");
    return by;
  }

  /** Takes a released session back: after a minute, or at once when the target was revoked. */
  reclaim(): Promise<void> {
    return this.session.alone(() => this.#reclaim());
  }

  async #reclaim(): Promise<void> {
    const { session } = this;
    session.needOneHistory();
    const signed = await session.sign(session.chain.epoch + 1, { kind: "reclaim", handoff: this.id });
    await session.take(await this.#post("reclaim", { statement: signed.text }), signed);
    session.hold();
  }

  /** Withdraws the offer. */
  async cancel(): Promise<void> {
    // Whatever the broker makes of it.
    await this.session.device.setHanding(this.session.id, undefined);
    await this.#post("cancel", {});
  }

  #post(verb: string, json: object): Promise<{ accepted: string }> {
    const { device, id } = this.session;
    return device.broker({ scope: "handoff:offer", path: `/v1/handoffs/${this.id}/${verb}`, session: id, json });
  }
}

/** A handoff that waits for this device. */
export class Waiting {
  private constructor(
    readonly device: Device,
    private readonly offer: Offer,
    private readonly hash: string,
  ) {}

  /** Handoffs that name this device or any full one, each with its source's signature checked against the log. */
  static async list(device: Device): Promise<Waiting[]> {
    const shown = await all(device);
    if (shown.length === 0) return [];
    const members = await device.members();
    const waiting: Waiting[] = [];
    for (const { offer: text } of shown) {
      if (text === null) continue;
      const { offer, hash } = readOffer(text);
      if (!members.members.some((member) => member.device === offer.from)) throw new Refused("log.not_member", "not member");
      const forMe = offer.to === "any_full" ? device.tier === "full" && offer.from !== device.did : named(offer.to).includes(device.did);
      if (forMe) waiting.push(new Waiting(device, offer, hash));
    }
    return waiting;
  }

  /** The handoff's id. */
  get id(): string {
    return this.offer.handoff;
  }

  /** The session. */
  get session(): string {
    return this.offer.session;
  }

  /** Who offers it. */
  get from(): string {
    return this.offer.from;
  }

  /** How far it is. */
  async state(): Promise<HandoffState> {
    return (await show(this.device, this.id)).state;
  }

  /** Accepts: token, and a presentation with the offer's challenge over this very handoff. */
  async accept(): Promise<void> {
    const { device, offer } = this;
    const data = [acceptData(offer, this.hash, device.did)];
    await device.presenting(async () => {
      const presentation = await device.present({ audience: device.kept.servers.broker, nonce: offer.challenge, data });
      await this.#post("accept", { presentation });
    });
  }

  /** Declines; the person at the other device is told why. */
  async decline(reason: Declining = "unwanted"): Promise<void> {
    await this.#post("decline", { reason });
  }

  /** Accepts, waits until the source has sealed, and holds the session. */
  async take(): Promise<Session> {
    await this.accept();
    if (!["sealed", "completed"].includes(await reach(this.device, this.id, ["sealed"]))) throw new Refused("handoff.state", "not sealed in time");
    return this.complete();
  }

  /** Opens what was sealed, proves it, and holds the session. */
  async complete(): Promise<Session> {
    const session = await Session.load(this.device, this.offer.session);
    // A repeat after a lost answer: the receipt was accepted, and the chain says so.
    if (session.isHeld) return session;
    const { chain } = session;
    if (chain.released?.to !== this.device.did || chain.holder !== this.offer.from) throw new Refused("handoff.target", "not released to this device");
    const proof = receiptProof(session.key, chain.last, session.content);
    const signed = await session.sign(chain.epoch + 1, { kind: "receipt", handoff: this.id, proof });
    await session.take(await this.#post("complete", { statement: signed.text }), signed);
    session.hold();
    return session;
  }

  #post(verb: string, json: object): Promise<{ accepted: string }> {
    return this.device.broker({ scope: "handoff:accept", path: `/v1/handoffs/${this.id}/${verb}`, session: this.offer.session, json });
  }
}

/** When a source may take back what its target has not completed, in seconds, and a little more. */
const RECLAIM_SECS = 62;
/** How often the content of a shared session is sealed anew because another device wrote into it. */
const SEALS = 8;

/** What the target agrees to when it accepts: this handoff of this session between these two, by this key. */
function acceptData({ handoff, session, epoch, from }: Offer, offerHash: string, to: string): string {
  return agreed("baton.handoff", { handoff, session, epoch, from, to, jkt: PublicKey.fromDid(to).thumbprint, offer_hash: offerHash });
}

/** Reads an offer: by the device it names as its source, letter for letter what this version would write. */
function readOffer(text: string): { offer: Offer; hash: string } {
  const { by, claims, payloadHash } = verifyBy(text, "baton-offer+jwt");
  const { handoff, session, epoch, from, to, challenge } = claims as unknown as Offer;
  const { device, any_of: several } = (to ?? {}) as { device?: string; any_of?: string[] };
  const target: Target = to === "any_full" ? to : Array.isArray(several) ? { any_of: [...several] } : { device: device ?? "" };
  const sound = !Array.isArray(several) || (several.length >= 2 && several.length <= MOST_NAMED && new Set(several).size === several.length);
  const offer: Offer = { v: 1, handoff, session, epoch, from, to: target, challenge };
  decodeExactly(challenge, 16);
  if (!sound || from !== by || payloadHash !== hash(JSON.stringify(offer))) throw new Refused("handoff.statement", "offer");
  return { offer, hash: payloadHash };
}
