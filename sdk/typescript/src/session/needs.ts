/**
 * What a session needs of the device it is on, and what its app adapts to: in the words that devices say of themselves when they enrol (`capabilities`).
 * Sealed with the content, and matched by devices: no service learns of it (docs/protocol.md §7).
 */

import { Refused } from "../refused.js";

export interface Needs {
  /** Without one of each of these it cannot go on. */
  needs: string[][];
  /** Without these it goes on, and the app there adapts. */
  adapts: string[];
}

/** How a session fits a device. */
export interface Fit {
  /** What the device would need one of, and has none of: with any, the session cannot go there. */
  lacks: string[][];
  /** What the app has to adapt to there. */
  adapt: string[];
}

/** A device that can take a session. */
export interface Taker {
  device: string;
  /** What the person calls it. */
  name: string;
  /** What the app has to adapt to there. */
  adapt: string[];
}

const MOST = 16;
const NOTHING: Needs = { needs: [], adapts: [] };

/** Held against what a device says of itself. */
export function fit({ needs, adapts }: Needs, capabilities: readonly string[]): Fit {
  const has = (word: string): boolean => capabilities.includes(word);
  return { lacks: needs.filter((any) => !any.some(has)), adapt: adapts.filter((word) => !has(word)) };
}

/** As it is signed: nothing where nothing is needed. */
export function signedNeeds({ needs, adapts }: Needs): { needs?: Needs } {
  return needs.length === 0 && adapts.length === 0 ? {} : { needs: { needs, adapts } };
}

/** Refuses what is too much, and words that are no words. */
export function readNeeds(said: unknown): Needs {
  if (said === undefined) return NOTHING;
  const { needs, adapts } = said as Partial<Needs>;
  const some = (all: unknown, atLeast: number): all is unknown[] => Array.isArray(all) && all.length >= atLeast && all.length <= MOST;
  const words = (all: unknown, atLeast: number): all is string[] => some(all, atLeast) && all.every(isWord);
  if (!some(needs, 0) || !needs.every((any) => words(any, 1)) || !words(adapts, 0)) throw new Refused("input.invalid", "needs");
  return { needs, adapts };
}

/** Printable ASCII without spaces: the same everywhere. */
function isWord(word: unknown): boolean {
  return typeof word === "string" && /^[!-~]{1,64}$/.test(word);
}
