/** What people see. No script: a page that waits asks again by itself. */

import type { Check, ForeignShown, Outcome, Report, Shown } from "@baton/sdk/node";
import { encode } from "uqr";
import { Html, html } from "./html.js";

/** What is asked of a wallet here. */
export const CLAIMS = ["name", "kind", "platform", "model"] as const;

const MEANS: Record<string, string> = {
  issuer: "its issuer's signature holds, by the issuer's own key",
  dates: "it has begun and has not ended",
  holder: "whoever shows it holds its key",
  nonce: "it was shown for this request, once",
  audience: "it was shown to this verifier",
  transaction_data: "it agrees to what was to be agreed to, and nothing else",
  status: "it was not revoked, as of now",
  query: "it is what was asked for",
};

export const STYLE = `body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
svg { width: 16rem; height: 16rem } textarea { width: 100%; box-sizing: border-box } th { text-align: start; padding-inline-end: 1rem }
a, code { overflow-wrap: anywhere } .yes::before { content: "✓ " } .no::before { content: "✗ " }`;

function page(title: string, content: Html, again = false): string {
  const refresh = again ? html`<meta http-equiv="refresh" content="2" />` : "";
  return html`<!doctype html>
    <html lang="en">
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width" />
      ${refresh}
      <title>${title}</title>
      <link rel="icon" href="data:," />
      <link rel="stylesheet" href="/style.css" />
      <main>
        <h1>${title}</h1>
        ${content}
      </main>
    </html>`.text;
}

export function start(): string {
  const boxes = CLAIMS.map((name) => html`<label><input type="checkbox" name="claim" value="${name}" /> ${name}</label> `);
  return page(
    "A shop",
    html`<h2>Who are you?</h2>
      <form method="post" action="/ask">
        <fieldset>
          <legend>The shop wants to know of your device:</legend>
          ${boxes}
        </fieldset>
        <button>Ask my wallet</button>
      </form>
      <h2>A credential of somebody else's</h2>
      <form method="post" action="/credential">
        <label>JSON, or a JWT<textarea name="credential" rows="8" required></textarea></label>
        <button>Verify it</button>
      </form>`,
  );
}

/** A QR code, drawn. */
function qr(text: string): Html {
  const { data, size } = encode(text, { border: 4 });
  const dark = data.flatMap((row, y) => row.flatMap((on, x) => (on ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  return html`<svg viewBox="0 0 ${size} ${size}" role="img" aria-label="QR code of the request" shape-rendering="crispEdges">
    <rect width="${size}" height="${size}" fill="#fff" />
    <path d="${dark}" fill="#000" />
  </svg>`;
}

export function waiting(link: string): string {
  return page(
    "Ask your wallet",
    html`${qr(link)}
      <p>Scan it, or open it here: <a href="${link}">${link}</a></p>
      <p role="status">Waiting for an answer.</p>`,
    true,
  );
}

function checks(all: Check[]): Html {
  const rows = all.map(({ check, ok, reason }) => html`<tr><th scope="row">${check}</th><td class="${ok ? "yes" : "no"}">${ok ? (MEANS[check] ?? "holds") : reason}</td></tr>`);
  return html`<table><caption>Every check</caption>${rows}</table>`;
}

function rows(all: Record<string, unknown>): Html {
  return html`<table>${Object.entries(all).map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${typeof value === "string" ? value : JSON.stringify(value)}</td></tr>`)}</table>`;
}

function credential(shown: Shown | ForeignShown): Html {
  if ("vct" in shown) return html`<h2>${shown.vct}</h2><p>By <code>${shown.issuer}</code></p>${rows(shown.claims)} ${checks(shown.checks)}`;
  return html`<h2>${shown.device}</h2>
    ${rows({ ...shown.claims, subject: shown.subject, tier: shown.tier, "valid until": new Date(shown.expires_at * 1000).toISOString() })} ${checks(shown.checks)}`;
}

export function verdict(outcome: Exclude<Outcome, { state: "waiting" }>): string {
  if (outcome.state === "refused") return page("No", html`<p>The wallet said: <code>${outcome.error}</code></p>`);
  return page("Welcome", html`${Object.values(outcome.credentials).flat().map(credential)}`);
}

export function report(told: Report): string {
  const who = told.by === undefined ? "" : html`<p>By <code>${told.by}</code>: ${told.types.join(", ")}</p>`;
  const subject = told.subject === undefined ? "" : html`<pre>${JSON.stringify(told.subject, null, 2)}</pre>`;
  return page(told.verified ? "It holds" : "It does not hold", html`${who} ${subject} ${checks(told.checks)}`);
}

export function refused(code: string): string {
  return page("That did not work", html`<p><code>${code}</code></p><p><a href="/">Again</a></p>`);
}
