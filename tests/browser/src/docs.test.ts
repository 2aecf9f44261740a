/** `/docs` in a real browser: every service's document is shown, and nothing of it needs more than the page's policy allows. */

import { Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Person } from "./person.js";

test("what each service answers can be read in a browser", async () => {
  const server = await Server.start();
  const person = await Person.at();
  const { page } = person;
  try {
    const errors: string[] = [];
    page.on("console", (message) => void (message.type() === "error" && errors.push(message.text())));
    page.on("pageerror", (error) => void errors.push(error.message));
    const answer = await page.goto(`${server.url}/docs`);
    assert.match(answer?.headers()["content-security-policy"] ?? "", /^sandbox allow-scripts; default-src 'none'; script-src 'self'; .*frame-ancestors 'none'$/);
    for (const [service, summary] of [
      ["identity", "Pushes an authorization request"],
      ["verifier", "What a presentation is worth"],
      ["broker", "The holder offers its session"],
    ] as const) {
      await page.getByLabel("Select a definition").selectOption({ label: service });
      await page.getByText(summary).first().waitFor();
      const document = (await (await fetch(`${server.url}/docs/openapi/${service}.json`)).json()) as { paths: object };
      const shown = page.locator(".opblock");
      assert.equal(await shown.count(), Object.values(document.paths).reduce((sum: number, item: object) => sum + Object.keys(item).length, 0));
    }
    const directory = process.env["BATON_SCREENSHOTS"];
    if (directory !== undefined) await page.screenshot({ path: `${directory}/docs.png` });
    // To read only: nothing is sent from here.
    await page.getByText("The holder offers its session").first().click();
    assert.equal(await page.getByRole("button", { name: "Try it out" }).count(), 0);
    assert.deepEqual(errors, []);
  } finally {
    await person.close();
    await server.stop();
  }
});
