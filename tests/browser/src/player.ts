/** The example player, served as its maker would: static files, at an origin of their own. */

import type { Server } from "@baton/sdk/test-server";
import { readFile } from "node:fs/promises";
import { createServer, type Server as Files } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";
import type { Page } from "playwright-core";

const KINDS: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html" };
const built = new URL("../../../sdk/typescript/examples/player/dist/", import.meta.url);

export class Player {
  private constructor(
    private readonly files: Files,
    private readonly server: Server,
  ) {}

  static async serve(server: Server): Promise<Player> {
    const files = createServer((request, answer) => {
      const path = new URL(request.url ?? "/", "http://player").pathname;
      const name = path.startsWith("/assets/") ? path.slice(1) : "index.html";
      readFile(new URL(name, built)).then(
        (body) => answer.setHeader("content-type", KINDS[extname(name)] ?? "text/plain").end(body),
        () => answer.writeHead(404).end(),
      );
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => files.once("listening", resolve));
    return new Player(files, server);
  }

  /** Where a window is a device of that name. */
  at(device: string): string {
    return `http://127.0.0.1:${(this.files.address() as AddressInfo).port}/?server=${encodeURIComponent(this.server.url)}&device=${device}`;
  }

  /** The window joins with the passkey of its browser. */
  async join(page: Page, device: string): Promise<void> {
    await page.goto(this.at(device));
    await page.getByLabel("Name of this device").fill("Laptop");
    await page.getByRole("button", { name: "Join with my passkey" }).click();
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await plays(page, "The General, 0:00, here");
  }

  stop(): void {
    this.files.close();
  }
}

export const plays = (page: Page, what: string): Promise<void> => page.locator("#where", { hasText: what }).waitFor();
