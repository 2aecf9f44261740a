/** Refusals with the same stable codes the servers use (schemas/codes.json). */

/** Something was refused: by this SDK before anything was sent, or by a server. */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(
    /** Stable and namespaced, such as `wrap.invalid`. */
    readonly code: string,
    /** The precise cause, for the developer. Never a secret. */
    readonly reason: string,
    /** HTTP status, when a server refused. */
    readonly status?: number,
    /** What else the server said: `epoch`, `head`, … */
    readonly members: Record<string, unknown> = {},
  ) {
    super(`${code} (${reason})`);
  }
}
