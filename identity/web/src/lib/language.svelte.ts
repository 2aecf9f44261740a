/** The language of the pages: what the person chose, or what their browser asks for. Only the one in use is loaded. */

import { en, type Messages } from "../messages/en.js";

/** Each under its own name, in its own script. */
export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", "zh-Hans": "简体中文", ar: "العربية" } as const;
export type Code = keyof typeof LANGUAGES;

const LOADED: Record<Code, () => Promise<Messages>> = {
  en: () => Promise.resolve(en),
  de: async () => (await import("../messages/de.js")).de,
  es: async () => (await import("../messages/es.js")).es,
  "zh-Hans": async () => (await import("../messages/zh-Hans.js")).zhHans,
  ar: async () => (await import("../messages/ar.js")).ar,
};
const KEPT = "baton.language";

class Language {
  code = $state<Code>("en");
  /** Everything there is to say. */
  m = $state.raw<Messages>(en);

  /** Takes another language, here and from now on. */
  async use(code: Code): Promise<void> {
    this.m = await LOADED[code]();
    this.code = code;
    document.documentElement.lang = code;
    document.documentElement.dir = code === "ar" ? "rtl" : "ltr";
  }

  async choose(code: Code): Promise<void> {
    localStorage.setItem(KEPT, code);
    await this.use(code);
  }

  /** What was chosen before, or the first that the browser asks for and we have. */
  async begin(): Promise<void> {
    const asked = [localStorage.getItem(KEPT) ?? "", ...navigator.languages].map(known);
    await this.use(asked.find((code) => code !== undefined) ?? "en");
  }

  date(at: number): string {
    return new Intl.DateTimeFormat(this.code, { dateStyle: "medium" }).format(at);
  }

  time(at: number): string {
    return new Intl.DateTimeFormat(this.code, { dateStyle: "medium", timeStyle: "short" }).format(at);
  }

  /** "3 minutes ago" */
  ago(at: number, now = Date.now()): string {
    const seconds = Math.min(0, (at - now) / 1000);
    const steps = [["day", 86_400], ["hour", 3600], ["minute", 60]] as const;
    const format = new Intl.RelativeTimeFormat(this.code, { numeric: "auto" });
    for (const [unit, length] of steps) if (seconds <= -length) return format.format(Math.ceil(seconds / length), unit);
    return format.format(0, "minute");
  }
}

function known(tag: string): Code | undefined {
  if (/^zh(-(Hans|CN|SG))?$/i.test(tag)) return "zh-Hans";
  const base = tag.split("-")[0] ?? "";
  return base !== "zh" && base in LANGUAGES ? (base as Code) : undefined;
}

export const language = new Language();
