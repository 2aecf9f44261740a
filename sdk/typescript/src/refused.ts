/** Refusals with the same stable codes the servers use (schemas/codes.json). */

import type { ServerCode } from "./codes.js";

/** What this SDK and the pages refuse by themselves, beside the servers' codes. */
type OwnCode =
  /** Nobody could be reached, or what came was not whole. */
  | "transport"
  /** This surrounding lacks something. */
  | "unsupported"
  /** A server refused without a code. */
  | "unknown"
  /** The app was sent back with an answer to something else. */
  | "enrol.redirect"
  /** The passkey was not used, or is somebody else's. */
  | "webauthn.cancelled"
  | "webauthn.other"
  /** Content that is no document, or a register that none can have. */
  | "state.form"
  | "state.size"
  /** A relying service's request that a device does not answer: who asks, or where the answer would go. */
  | "vp.request"
  /** The device's credential is not what is asked for. */
  | "vp.unmet"
  /** The root was asked for with another passkey. */
  | "root.passkey";

/** Why something was refused. */
export type Code = ServerCode | OwnCode;

/** Something was refused: by this SDK before anything was sent, or by a server. */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(
    /** Stable and namespaced, such as `wrap.invalid`. A newer server may have more than these. */
    readonly code: Code,
    /** The precise cause, for the developer. Never a secret. */
    readonly reason: string,
    /** HTTP status, when a server refused. */
    readonly status?: number,
    /** What else the server said: `epoch`, `head`, … */
    readonly members: Record<string, unknown> = {},
  ) {
    super(`${code} (${reason})`);
  }

  /** What a server said, whichever code it has. */
  static told(code: string, reason: string, status?: number, members: Record<string, unknown> = {}): Refused {
    return new Refused(code as Code, reason, status, members);
  }
}
