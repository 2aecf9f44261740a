/** The codes that errors are typed with are the servers' own. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { Refused, type Code } from "../src/index.js";

test("every code of the servers is one of ours, and no other", () => {
  const { codes } = JSON.parse(readFileSync(new URL("../../../../schemas/codes.json", import.meta.url), "utf8")) as { codes: string[] };
  const about = "/** The stable codes of the servers' answers, from schemas/codes.json: `make schemas` writes this file. */";
  const wanted = `${about}\nexport type ServerCode =\n${codes.map((code) => `  | "${code}"`).join("\n")};\n`;
  // From dist/test.
  const place = new URL("../../src/codes.ts", import.meta.url);
  if (process.env["BATON_WRITE"] !== undefined) writeFileSync(place, wanted);
  assert.equal(readFileSync(place, "utf8"), wanted, "codes.ts differs: `make schemas` writes it anew");
});

test("a code that is none is an error of the compiler, and one of a newer server is still told", () => {
  const code: Code = "wrap.invalid";
  assert.equal(new Refused(code, "as it is").code, code);
  // @ts-expect-error no server and nothing here says this
  const misspelt: Code = "wrap.inwalid";
  assert.equal(Refused.told(misspelt, "refused by the server", 400).code, "wrap.inwalid");
});
