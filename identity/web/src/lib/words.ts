/** What to say about a refusal: what happened, and what the person can do. */

import { Refused } from "@baton/sdk";
import { language } from "./language.svelte.js";

/** A sentence or two. */
export function say(error: unknown): string {
  const { m } = language;
  if (!(error instanceof Refused)) return m.wentWrong;
  return word(m.errors, error.code) ?? m.refusedByBaton(error.code);
}

/** What scopes allow, as a list in a sentence. */
export function scopeWords(scopes: string): string {
  const { m, code } = language;
  const each = scopes.split(" ").filter((scope) => scope !== "offline_access");
  return new Intl.ListFormat(code, { type: "conjunction" }).format(each.map((scope) => word(m.approve.scopes, scope) ?? scope));
}

/** The word for something that a server names, if there is one. */
export function word(words: Record<string, string>, name: string): string | undefined {
  return Object.hasOwn(words, name) ? words[name] : undefined;
}
