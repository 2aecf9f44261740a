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

  /** Where a window is a device of that name. */
  at(device: string): string {
    return `http://127.0.0.1:${this.files.port}/?server=${encodeURIComponent(this.server.url)}&device=${device}`;
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
    this.files.stop();
  }
}

export const plays = (page: Page, what: string): Promise<void> => page.locator("#where", { hasText: what }).waitFor();
