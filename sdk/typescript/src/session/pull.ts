/** Asking for a session that another device holds, and answering who asks. Nothing moves before the holder offers it (docs/protocol.md §8). */

import { Device } from "../device.js";
import { newId } from "../id.js";
import { Refused } from "../refused.js";
import { Waiting } from "./handoff.js";
import { Session } from "./session.js";
import { all, reach, show, type Declining, type HandoffState, type Reason } from "./shown.js";

/** A session that this device has asked for. */
export class Requested {
  private constructor(
    private readonly device: Device,
    private readonly session: string,
    /** The handoff's id. */
    readonly id: string,
  ) {}

  /** Asks whoever holds it to hand it to this device. Full devices alone may. */
  static async make(wanted: Session): Promise<Requested> {
    wanted.needOneHistory();
    const { device, id: session } = wanted;
    const handoff = newId("hof", device.http.seconds() * 1000, device.http.around.random);
    try {
      await device.broker({ scope: "handoff:accept", path: `/v1/sessions/${session}/request`, session, json: { handoff } });
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "handoff.state") throw error;
      // The answer to the same request may have been lost before, and the holder may have offered it since.
      const mine = (await all(device)).find((one) => one.session === session && JSON.stringify(one.to) === JSON.stringify({ device: device.did }));
      if (!mine) throw error;
      return new Requested(device, session, mine.handoff);
    }
    return new Requested(device, session, handoff);
  }

  /** How far it is, and, once it is over, why. */
  async state(): Promise<{ state: HandoffState; reason: Reason | null }> {
    return show(this.device, this.id);
  }

  /** Waits for the holder's offer, takes it, and holds the session. Nothing when it was declined, or nobody answered: {@link state} says why. */
  async take(): Promise<Session | undefined> {
    const reached = await reach(this.device, this.id, ["offered", "accepted", "sealed"]);
    // Another tab of this device was quicker.
    if (reached === "completed") return Session.load(this.device, this.session);
    const waiting = (await Waiting.list(this.device)).find(({ id }) => id === this.id);
    return waiting?.take();
  }

  /** Does not want it any more, whether or not it has been offered meanwhile. */
  async cancel(): Promise<void> {
    const say = (verb: string, scope: string): Promise<unknown> => this.device.broker({ scope, path: `/v1/handoffs/${this.id}/${verb}`, session: this.session, json: {} });
    await say("cancel", "handoff:offer").catch((error: unknown) => {
      if (!(error instanceof Refused) || error.code !== "handoff.not_holder") throw error;
      return say("decline", "handoff:accept");
    });
  }
}

/** Another device asks for a session that this one holds: answer it with {@link Offered.agree}, or not. */
export class Asked {
  private constructor(
    private readonly device: Device,
    /** The handoff's id. */
    readonly id: string,
    /** The session. */
    readonly session: string,
    /** Who asks. */
    readonly by: string,
  ) {}

  /** What is asked of this device, by live members of its own log alone. */
  static async list(device: Device): Promise<Asked[]> {
    const shown = (await all(device)).filter(({ state, from }) => state === "requested" && from === device.did);
    if (shown.length === 0) return [];
    const members = await device.members();
    return shown.flatMap(({ handoff, session, to }) => {
      const by = typeof to === "object" && "device" in to ? to.device : "";
      return members.live.includes(by) && Device.syncs(members, by) ? [new Asked(device, handoff, session, by)] : [];
    });
  }

  /** Keeps it; the person at the other device is told why. */
  async decline(reason: Declining = "unwanted"): Promise<void> {
    await this.device.broker({ scope: "handoff:accept", path: `/v1/handoffs/${this.id}/decline`, session: this.session, json: { reason } });
  }
}
