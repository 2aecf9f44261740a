/** The example player, served as its maker would. */

import type { Server } from "@baton/sdk/test-server";
import type { Page } from "playwright-core";
import { Files } from "./files.js";

export class Player {
  private constructor(
    private readonly files: Files,
    private readonly server: Server,
  ) {}

  static async serve(server: Server): Promise<Player> {
    return new Player(await Files.serve(new URL("../../../sdk/typescript/examples/player/dist/", import.meta.url)), server);
  }

  /** Where a window is a device of that name, and speaks that language. */
  at(device: string, language = "en"): string {
    return `http://127.0.0.1:${this.files.port}/?server=${encodeURIComponent(this.server.url)}&device=${device}&lang=${language}`;
  }

  /** The window joins with the passkey of its browser. */
  async join(page: Page, device: string, name = "Laptop"): Promise<void> {
    await page.goto(this.at(device));
    await page.getByLabel("Name of this device").fill(name);
    await page.getByRole("button", { name: "Join with my passkey" }).click();
    await page.getByRole("button", { name: "Approve with passkey" }).click();
    await plays(page, "The General, 0:00");
  }

  stop(): void {
    this.files.stop();
  }
}

/** The window says this of the film. When it does not, what it shows in its place is told. */
export async function plays(page: Page, what: string): Promise<void> {
  try {
    await page.locator("#where", { hasText: what }).waitFor();
  } catch (error) {
    throw new Error(`${what} does not play; the page at ${page.url()} shows: ${await page.locator("body").innerText()}`, { cause: error });
  }
}
