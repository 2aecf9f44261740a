/** DEV-10: what a QR code may say. Reading it fetches nothing. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { readVerificationUri } from "../src/index.js";
import { refusal } from "./people.js";

const PAGES = "https://approve.example";
const KEYS = "a".repeat(43);

test("a device's own link is read, and nothing else", () => {
  assert.deepEqual(readVerificationUri(`${PAGES}/device#BCDF-GHJK`, PAGES), { userCode: "BCDF-GHJK" });
  assert.deepEqual(readVerificationUri(`${PAGES}/device#BCDF-GHJK.${KEYS}`, `${PAGES}/`), { userCode: "BCDF-GHJK", keys: KEYS });
  for (const said of [
    `https://evil.example/device#BCDF-GHJK`,
    `https://approve.example.evil.example/device#BCDF-GHJK`,
    `https://approve.example@evil.example/device#BCDF-GHJK`,
    `https://me@approve.example/device#BCDF-GHJK`,
    `http://approve.example/device#BCDF-GHJK`,
    `https://approve.example:8443/device#BCDF-GHJK`,
    `HTTPS://APPROVE.EXAMPLE/device#BCDF-GHJK`,
    `http://169.254.169.254/device#BCDF-GHJK`,
    `http://127.0.0.1/device#BCDF-GHJK`,
    `javascript:alert(1)//${PAGES}/device#BCDF-GHJK`,
    `baton:BCDF-GHJK`,
    `data:text/html,${PAGES}/device#BCDF-GHJK`,
    `${PAGES}/sessions#BCDF-GHJK`,
    `${PAGES}/wallet#BCDF-GHJK`,
    `${PAGES}/device/../settings#BCDF-GHJK`,
    `${PAGES}/device?approve=1#BCDF-GHJK`,
    `${PAGES}/device`,
    `${PAGES}/device#`,
    `${PAGES}/device#AEIO-UUUU`,
    `${PAGES}/device#BCDF-GHJK.${KEYS}.more`,
    `${PAGES}/device#BCDF-GHJK.${KEYS}a`,
    `${PAGES}/device#BCDF-GHJK ${KEYS}`,
    ` ${PAGES}/device#BCDF-GHJK`,
    `${PAGES}/device#BCDF-GHJK${"x".repeat(10_000)}`,
    "",
  ]) {
    assert.throws(() => readVerificationUri(said, PAGES), refusal("input.qr"), said.slice(0, 80));
  }
});
