/** Randomness is an argument, so that vectors can be made; nobody but a test gives another than the system's. */

import type { Bytes } from "./base64url.js";

/** Gives that many unpredictable bytes. */
export type Random = (length: number) => Bytes;

/** The system's. */
export const systemRandom: Random = (length) => crypto.getRandomValues(new Uint8Array(length));
