/** The repository's fixtures. */

import { readFileSync, writeFileSync } from "node:fs";
import assert from "node:assert/strict";
import { sha256 } from "@noble/hashes/sha2.js";
import { utf8, type Bytes } from "../src/base64url.js";
import type { Random } from "../src/random.js";

// From dist/test.
const place = (name: string): URL => new URL(`../../../../fixtures/${name}`, import.meta.url);

/** What stands in a file. */
export function fixture<T>(name: string): T {
  return JSON.parse(readFileSync(place(name), "utf8")) as T;
}

/** Holds what the code makes against what stands in a file; `BATON_WRITE=1` writes it first. */
export function golden(name: string, made: object): void {
  const text = `${JSON.stringify(made, null, 2)}\n`;
  if (process.env["BATON_WRITE"] !== undefined) writeFileSync(place(name), text);
  assert.equal(readFileSync(place(name), "utf8"), text, `${name} differs: \`make schemas\` writes it anew, if that is meant`);
}

/** Bytes that are the same each time: for vectors alone. */
export function vectorRandom(): Random {
  let counter = 0;
  return (length): Bytes => {
    const out = new Uint8Array(length);
    for (let at = 0; at < length; at += 32) out.set(sha256(utf8(`baton typescript vector ${counter++}`)).subarray(0, Math.min(32, length - at)), at);
    return out;
  };
}
