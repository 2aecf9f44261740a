/** Markup in which everything that is put in is text. */

/** Markup. */
export class Html {
  constructor(readonly text: string) {}
}

const NAMES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.map(shown).join("");
  if (value instanceof Html) return value.text;
  return String(value ?? "").replace(/[&<>"']/g, (letter) => NAMES[letter] ?? "");
}

/** `` html`<p>${anything}</p>` `` */
export function html(parts: TemplateStringsArray, ...values: unknown[]): Html {
  return new Html(parts.reduce((all, part, n) => all + shown(values[n - 1]) + part));
}
