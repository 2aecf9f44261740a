/** The pages for everybody: in every language, both themes, on every screen, and with the keyboard alone. */

import { Session, enrolElsewhere } from "@baton/sdk";
import { Server } from "@baton/sdk/test-server";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CALLBACK, asking, full, told } from "./enrolled.js";
import { Person } from "./person.js";

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

/** An app asks to sign somebody in, or a wallet to ask for a credential; gives where their person decides. */
async function pushed(scope: "openid" | "baton_device"): Promise<string> {
  const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
  const asked = { client_id: "baton-cli", response_type: "code", redirect_uri: CALLBACK, scope, state: "a state", code_challenge: challenge, code_challenge_method: "S256", dpop_jkt: challenge };
  const answer = await fetch(`${server.url}/identity/par`, { method: "POST", body: new URLSearchParams(asked) });
  const { request_uri } = (await answer.json()) as { request_uri: string };
  return `${server.url}/identity/authorize?${new URLSearchParams({ client_id: "baton-cli", request_uri })}`;
}

test("every page in every language, in both themes, on a phone and on a desktop", { timeout: 1_200_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  const languages = [["de", "Ihre Geräte", "sehen, sie"], ["es", "Tus dispositivos", "sesiones, cambiarlas"], ["zh-Hans", "您的设备", "会话、在"], ["ar", "أجهزتك", "جلساتك"], ["en", "Your devices", "sessions, change"]] as const;
  const looksRight = async (name: string): Promise<void> => {
    await person.isAccessible();
    for (const [width, height] of [[390, 844], [1280, 800]] as const) {
      await page.setViewportSize({ width, height });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${name} at ${width} px runs over by ${wide}`);
      const shots = process.env["BATON_SCREENSHOTS"];
      if (shots !== undefined) await page.screenshot({ path: `${shots}/${name}-${width}.png`, fullPage: true });
    }
  };
  try {
    await person.signUp(server.url);
    await Session.open(await full(server, page, "Laptop"), new TextEncoder().encode("minute 43"));
    const request = await enrolElsewhere(asking(server, "Television", "tv"));
    const [signIn, wallet] = [await pushed("openid"), await pushed("baton_device")];
    for (const [code, heading, list] of languages) {
      await page.goto(`${server.url}/settings`);
      await page.locator("#language").selectOption(code);
      await page.goto(server.url);
      await page.getByRole("heading", { level: 1, name: heading }).waitFor();
      await page.getByText(list).waitFor();
      assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), [code, code === "ar" ? "rtl" : "ltr"]);
      for (const path of ["/", "/sessions", "/activity", "/passkeys", "/settings", "/wallet", "/device", `/device#${request.userCode}`]) {
        await page.goto(server.url + path);
        await page.locator("h1").waitFor();
        await looksRight(`${code}-${path.replaceAll(/\W/g, "")}`);
      }
      await page.goto(server.url);
      await page.locator("summary").first().click();
      await page.getByRole("checkbox").first().waitFor();
      await looksRight(`${code}-switches`);
      await page.goto(`${server.url}/passkeys`);
      await page.locator('section[aria-labelledby="root"] button').click();
      await page.locator("main ul:not(.cards)").waitFor();
      await looksRight(`${code}-replace-root`);
      await page.goto(signIn);
      await page.getByRole("heading", { level: 1 }).filter({ hasText: "Baton command line" }).waitFor();
      await looksRight(`${code}-sign-in`);
      await page.goto(wallet);
      await page.locator("dl").waitFor();
      await looksRight(`${code}-wallet-asks`);
      // What opens over a page, and what a page turns into.
      for (const [path, open, close] of [
        ["/", ".cards .actions button >> nth=-1", "dialog button"],
        ["/", ".cards .actions button >> nth=-2", "main > button"],
        ["/", ".cards .actions button >> nth=0", ".cards form button[type=button]"],
        ["/sessions", ".cards .actions button >> nth=-1", "dialog button"],
        ["/activity", ".happened button", "dialog button"],
        ["/activity", ".cards .actions button", "dialog button"],
        ["/passkeys", ".cards .actions button", "dialog button"],
        ["/passkeys", 'section[aria-labelledby="recovery"] button', "main > button.no-print"],
        ["/settings", "button.danger", "dialog button"],
      ] as const) {
        await page.goto(server.url + path);
        await page.locator(open).first().click();
        await page.locator(close).first().waitFor();
        await person.isAccessible();
        const shots = process.env["BATON_SCREENSHOTS"];
        if (shots !== undefined) await page.screenshot({ path: `${shots}/${code}-${path.slice(1)}-${open.replaceAll(/\W/g, "")}.png` });
        await page.locator(close).first().click();
      }
      await page.goto(`${server.url}/device#x`);
      await page.getByRole("alert").waitFor();
      await looksRight(`${code}-refused`);
    }
    // Who is not signed in reads the first page in their language too.
    await person.signedOutElsewhere();
    for (const [code] of languages) {
      await page.evaluate((chosen) => localStorage.setItem("baton.language", chosen), code);
      await page.goto(server.url);
      await page.locator("h1").waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.lang), code);
      await looksRight(`${code}-welcome`);
      await page.locator("button.link").click();
      await page.locator("#code").waitFor();
      await person.isAccessible();
    }
  } finally {
    await person.close();
  }
});

test("sign up, approve and revoke with the keyboard alone", { timeout: 300_000 }, async () => {
  const person = await Person.at();
  const { page } = person;
  /** Tab by tab until that control has the focus: it can be reached, and it shows. */
  const reach = async (name: string | RegExp): Promise<void> => {
    for (let steps = 0; steps < 40; steps++) {
      await page.keyboard.press("Tab");
      const focused = page.locator(":focus");
      const said = (await focused.getAttribute("aria-label").catch(() => null)) ?? (await focused.textContent().catch(() => "")) ?? "";
      if (typeof name === "string" ? said.trim() === name : name.test(said)) {
        const outline = await focused.evaluate((element) => getComputedStyle(element).outlineStyle);
        assert.notEqual(outline, "none", `${said} shows its focus`);
        return;
      }
    }
    assert.fail(`${String(name)} is out of reach`);
  };
  try {
    await page.goto(server.url);
    await page.locator("h1").waitFor();
    await reach("Create an account");
    await page.keyboard.press("Enter");
    const code = (await page.getByTestId("recovery-code").textContent()) ?? "";
    await reach("Print");
    await page.keyboard.press("Tab");
    await page.keyboard.type(code.split("-").at(-1) ?? "");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Your devices" }).waitFor();

    const asked = await enrolElsewhere(asking(server, "Television", "tv"));
    await page.goto(`${server.url}/device`);
    await page.locator("h1").waitFor();
    await reach("");
    await page.keyboard.type(asked.userCode.toLowerCase().replace("-", ""));
    await page.keyboard.press("Enter");
    await page.locator("button:focus", { hasText: "Refuse" }).waitFor();
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.type(asked.checkCode);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Television is yours now" }).waitFor();
    await reach("Your devices");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Television" }).waitFor();
    await reach("Revoke Television");
    await page.keyboard.press("Enter");
    await page.locator("dialog button:focus", { hasText: "Keep it" }).waitFor();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await told(page, /Television.? is out/);
  } finally {
    await person.close();
  }
});
