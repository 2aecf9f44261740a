/** Every example of README.md runs, type-checked, against a real server. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { around } from "./people.js";
import { RELYING_KEY, Server } from "./server.js";

const place = (name: string): URL => new URL(`../../${name}`, import.meta.url);

interface Example {
  name: string;
  after: string[];
  body: string;
}

const examples: Example[] = [...readFileSync(place("README.md"), "utf8").matchAll(/^```ts name=(\S+)(?: after=(\S+))?\n([\s\S]*?)^```$/gm)].map(
  ([, name = "", needs = "", body = ""]) => ({ name, after: needs === "" ? [] : needs.split(","), body }),
);

/** What must run before an example, each once, in order. */
function needed(name: string, done: Set<string> = new Set()): Example[] {
  const example = examples.find((one) => one.name === name);
  assert.ok(example, `${name} is not there`);
  const before = example.after.flatMap((one) => needed(one, done));
  if (done.has(name)) return before;
  done.add(name);
  return [...before, example];
}

/** An example as a module: imports first, the rest a function of what a test gives. */
function module(name: string): string {
  const parts = needed(name).map(({ body }) => body);
  const imports = parts.flatMap((body) => body.match(/^import .*$/gm) ?? []).map((line) => line.replace(/"@baton\/sdk(?:\/(words|node|document))?"/, (_, part = "index") => `"../../src/${part === "document" ? "document/index" : part}.js"`));
  const rest = parts.map((body) => body.replace(/^import .*$/gm, "")).join("\n");
  return `import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decode } from "../../src/base64url.js";
import type { AppChange, Offer, Shown, Surroundings, WrappedRoot } from "../../src/index.js";
import { fixture } from "../files.js";
import { Page } from "../page.js";
import type { Server } from "../server.js";
${imports.join("\n")}
export async function run(server: Server, around: Surroundings): Promise<void> {
const approved = async (url: string): Promise<string> => (await server.approve(url, "yes")) ?? "";
const approvedElsewhere = (code: string, check: string): Promise<unknown> => server.approve(code, check);
const show = (...shown: string[]): void => assert.ok(shown.every((text) => text !== ""));
const folder = mkdtempSync(join(tmpdir(), "baton-readme-"));
const keystore = join(folder, "device.key");
const apiKey = ${JSON.stringify(RELYING_KEY)};
const page = new Page().surface;
const recorded = fixture<{ shown: Shown; offer: Offer; wrapped_for_recovery: WrappedRoot; recovery_code: string }>("typescript-v1.json");
const stands = fixture<{ from_seed: string; to_seed: string; change: AppChange; before: string[] }>("root-change-v1.json");
const handing = { ...stands, from_seed: decode(stands.from_seed), to_seed: decode(stands.to_seed) };
void [apiKey, page, recorded, handing, around, server, approved, approvedElsewhere, show, keystore];
${rest}
rmSync(folder, { recursive: true });
}
`;
}

let server: Server;
const dir = fileURLToPath(place("test/readme"));
before(async () => {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir);
  for (const { name } of examples) writeFileSync(`${dir}/${name}.ts`, module(name));
  const tsc = fileURLToPath(new URL("../../../../node_modules/.bin/tsc", import.meta.url));
  execFileSync(tsc, ["-p", fileURLToPath(place("."))], { stdio: "inherit" });
  server = await Server.start();
});
after(() => {
  server.stop();
  rmSync(dir, { recursive: true, force: true });
});

for (const { name } of examples) {
  test(`README: ${name}`, async () => {
    server.newPerson();
    const { run } = (await import(`./readme/${name}.js`)) as { run: (server: Server, surroundings: typeof around) => Promise<void> };
    await run(server, around);
  });
}

test("README: it names what there is", () => {
  assert.ok(examples.length >= 9);
  const text = readFileSync(place("README.md"), "utf8");
  const index = readFileSync(place("src/index.ts"), "utf8");
  const named = [...index.matchAll(/^export \{ ([^}]+) \}/gm)].flatMap((match) => (match[1] ?? "").split(", "));
  const inside = ["Http", "PublicKey", "SoftKey", "didUrl", "generateDeviceKeys", "hash", "keysHash", "readDeviceLog", "shownHash", "signerOf", "surroundings", "systemRandom", "PRF_SALT", "Refused"];
  // What takes a browser's database is named in prose, and runs in tests/browser: the player is built on it.
  const elsewhere = ["IndexedDbStore"];
  const run = [...text.matchAll(/```ts name[\s\S]*?```/g)].map(([block]) => block).join("\n");
  const shown = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(elsewhere.includes(name) ? text : run);
  const missing = named.filter((name) => !inside.includes(name) && !shown(name));
  assert.deepEqual(missing, [], "exported and not shown");
});
