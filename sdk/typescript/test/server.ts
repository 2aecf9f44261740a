/** A real server in a process of its own, and a person who approves with the development build's software passkey. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { surroundings, type Device, type Surroundings } from "../src/index.js";

/** The API key of the tests' relying service. */
export const RELYING_KEY = "canary-relying-key-0123456789";

const program = process.env["BATON_PROGRAM"];

export interface Settings {
  /** The pages are at that origin. */
  approvalUrl?: string;
  /** Whose credentials the verifier trusts beside Baton's own, as TOML. */
  trustPolicy?: string;
  /** What wallets know the verifier by, as PEM. */
  certificate?: { chain: string; key: string };
}

/** A running server. */
export class Server {
  private people = 1;

  private constructor(
    readonly url: string,
    private readonly dir: string,
    private readonly flags: string[],
    private child: ChildProcess,
  ) {}

  static async start({ approvalUrl, trustPolicy, certificate }: Settings = {}): Promise<Server> {
    assert.ok(program, "BATON_PROGRAM names the program: run the tests with `make test`");
    const dir = mkdtempSync(join(tmpdir(), "baton-"));
    const key = createHash("sha256").update(RELYING_KEY).digest("base64url");
    const trust = trustPolicy === undefined ? "" : 'trust_policy = "trust.toml"\n';
    if (trustPolicy !== undefined) writeFileSync(join(dir, "trust.toml"), trustPolicy);
    for (const [name, text] of Object.entries(certificate ?? {})) writeFileSync(join(dir, `${name}.pem`), text);
    const certified = certificate ? '[request_certificate]\nchain = "chain.pem"\nkey = "key.pem"\n' : "";
    const service = `[[relying_service]]\nname = "shop"\nkey_sha256 = "${key}"\nunsigned = true\n`;
    writeFileSync(join(dir, "baton.toml"), `registration = true\n${trust}${service}${certified}`);
    // Below the ports that outgoing connections take.
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const url = `http://localhost:${port}`;
    const flags = ["serve", "--listen", `127.0.0.1:${port}`, "--admin-listen", "127.0.0.1:0", "--public-url", url, "--data-dir", dir];
    if (approvalUrl !== undefined) flags.push("--approval-url", approvalUrl);
    const server = new Server(url, dir, flags, Server.#spawn(flags));
    await server.#isUp();
    return server;
  }

  static #spawn(flags: string[], more: Record<string, string> = {}): ChildProcess {
    assert.ok(program);
    return spawn(program, flags, { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, BATON_LOG: "error", ...more } });
  }

  async #isUp(): Promise<void> {
    for (let tries = 0; tries < 300; tries++) {
      if (await fetch(`${this.url}/broker/jwks`).then((answer) => answer.ok, () => false)) return;
      assert.equal(this.child.exitCode, null, "the server ended");
      await pause(50);
    }
    throw new Error("the server did not come up");
  }

  /** Comes back on the same databases, that much later. */
  async returnsAfter(secs: number): Promise<void> {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill();
    await ended;
    this.child = Server.#spawn(this.flags, { BATON_CLOCK_AHEAD: String(secs) });
    await this.#isUp();
  }

  /** The software passkey of the person whose devices these are. */
  get person(): string {
    return join(this.dir, `person-${this.people}.json`);
  }

  /** From here on it is somebody else, who has nothing yet. */
  newPerson(): void {
    this.people++;
  }

  stop(): void {
    this.child.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Approves what a device asks: a user code with its check code, or the URL that an app opened. Gives where the browser goes on. */
  async approve(code: string, typed: string): Promise<string | undefined> {
    const said = await run(["approve", code, "--server", this.url, "--person", this.person], `${typed}\n`);
    return /goes on to (\S+)/.exec(said)?.[1];
  }

  /** A credential offer (OpenID4VCI) for the person's wallet, both forms, and the code to type into it. */
  async offer(): Promise<{ byValue: string; byReference: string; txCode: string }> {
    const said = await run(["approve", "--wallet", "baton-cli", "--server", this.url, "--person", this.person], "");
    const found = (pattern: RegExp): string => pattern.exec(said)?.[1] ?? assert.fail(said);
    return { byValue: found(/by value +(\S+)/), byReference: found(/by reference +(\S+)/), txCode: found(/the code (\d+)/) };
  }

  /** The person approves what waits, with the code they typed into the wallet. */
  async approveWaiting(txCode: string): Promise<void> {
    await run(["approve", "--waiting", "--server", this.url, "--person", this.person], `${txCode}\n`);
  }

  /** Revokes a device, as its person does in the pages. */
  async revoke(device: Device): Promise<void> {
    await run(["approve", "--revoke", device.kept.deviceId, "--server", this.url, "--person", this.person], "");
  }

  /** What the relying service is told about a presentation. */
  async verdict(presentation: string, audience: string, nonce: string): Promise<{ status: number; body: Record<string, unknown> }> {
    const headers = { authorization: `Bearer ${RELYING_KEY}`, "content-type": "application/json" };
    const body = JSON.stringify({ presentation, audience, nonce });
    const answer = await fetch(`${this.url}/verifier/v1/presentations/verify`, { method: "POST", headers, body });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  }
}

const PASSPHRASE = "canary passphrase";

/** A terminal: `baton device`, which is the Rust SDK. */
export class Terminal {
  private constructor(private readonly keystore: string) {}

  /** Enrols one; its person approves here. */
  static async enrol(server: Server, name: string): Promise<Terminal> {
    const terminal = new Terminal(join(mkdtempSync(join(tmpdir(), "baton-terminal-")), "device.key"));
    await terminal.run("enrol", "--server", server.url, "--name", name, "--person", server.person);
    return terminal;
  }

  /** Asks to join, as a person would at it: what its screen shows, and when it is in. */
  static async asks(server: Server, name: string, ...can: string[]): Promise<{ terminal: Terminal; userCode: string; checkCode: string; joined: Promise<unknown> }> {
    const terminal = new Terminal(join(mkdtempSync(join(tmpdir(), "baton-terminal-")), "device.key"));
    assert.ok(program);
    const args = ["device", "--keystore", terminal.keystore, "enrol", "--server", server.url, "--name", name, ...can.flatMap((word) => ["--can", word])];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, BATON_PASSPHRASE: PASSPHRASE } });
    const joined = new Promise((resolve, reject) => child.on("close", (status) => (status === 0 ? resolve(status) : reject(new Error("not joined")))));
    let said = "";
    return new Promise((resolve, reject) => {
      joined.catch(reject);
      child.stdout.on("data", (text: Buffer) => {
        said += text.toString();
        const [userCode, checkCode] = [/^ +code +(\S+)$/m.exec(said)?.[1], /^ +check code +(\S+)$/m.exec(said)?.[1]];
        if (userCode !== undefined && checkCode !== undefined) resolve({ terminal, userCode, checkCode, joined });
      });
    });
  }

  /** Runs a command and gives what it said. */
  run(...command: string[]): Promise<string> {
    return run(["device", "--keystore", this.keystore, ...command], "", { BATON_PASSPHRASE: PASSPHRASE });
  }

  /** Waits until it is asked for a session, and says yes. */
  gives(): Promise<string> {
    return run(["device", "--keystore", this.keystore, "give"], "yes\n", { BATON_PASSPHRASE: PASSPHRASE });
  }

  /** Answers a relying service, once it has shown what is asked. */
  answers(link: string, typed: string): Promise<string> {
    return run(["device", "--keystore", this.keystore, "answer", "--agree", "purchase", link], `${typed}\n`, { BATON_PASSPHRASE: PASSPHRASE });
  }

  /** Its DID. */
  async did(): Promise<string> {
    return /^device +(\S+)$/m.exec(await this.run("show"))?.[1] ?? "";
  }
}

async function run(args: string[], typed: string, env: Record<string, string> = {}): Promise<string> {
  assert.ok(program);
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, ...env } });
  child.stdin.end(typed);
  let said = "";
  child.stdout.on("data", (text: Buffer) => (said += text.toString()));
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(status, 0, said);
  return said;
}

/** The usual surroundings, but nobody waits. */
export const hurried: Surroundings = { ...surroundings, pause: () => Promise.resolve() };
