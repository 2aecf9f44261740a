/** A relying service: it asks a wallet, shows the QR code, and shows the verdict to the browser that asked. */

import { Refused, type RelyingService } from "@baton/sdk/node";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { CLAIMS, STYLE, refused, report, start, verdict, waiting } from "./pages.js";

const VCT = "urn:baton:vct:device-binding:1";
const LONGEST = 64 * 1024;
/** Most requests that are remembered; the oldest go first. */
const MOST = 1000;

interface Waiting {
  link: string;
  /** The browser that asked: nobody else sees what came of it. */
  browser: string;
}

const POLICY = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/** Serves; `origin` is where browsers find it. */
export function service(relying: RelyingService, origin: () => string): Server {
  const asked = new Map<string, Waiting>();
  return createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      const code = error instanceof Refused ? error.code : "internal";
      give(response, error instanceof Refused ? (error.status === undefined ? 400 : 502) : 500, refused(code));
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", origin());
    const at = `${request.method ?? ""} ${url.pathname}`;
    if (at === "GET /") return give(response, 200, start());
    if (at === "GET /style.css") return give(response, 200, STYLE, "text/css; charset=utf-8");
    if (request.method === "POST" && request.headers.origin !== origin()) return give(response, 403, refused("another site asked"));
    if (at === "POST /ask") return ask(request, response);
    if (at === "POST /credential") return give(response, 200, report(await relying.credential(read((await form(request)).get("credential") ?? ""))));
    const transaction = /^GET \/asked\/([\w-]+)$/.exec(at)?.[1];
    return transaction === undefined ? give(response, 404, refused("not found")) : show(request, response, transaction);
  }

  async function ask(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const wanted = (await form(request)).getAll("claim").filter((name) => (CLAIMS as readonly string[]).includes(name));
    const claims = wanted.length > 0 ? { claims: wanted.map((name) => ({ path: [name] })) } : {};
    const made = await relying.ask({ credentials: [{ id: "device", format: "dc+sd-jwt", meta: { vct_values: [VCT] }, ...claims }] }, { crossDevice: true });
    const browser = cookie(request) ?? randomBytes(24).toString("base64url");
    asked.set(made.transaction, { link: made.authorizationRequest, browser });
    for (const oldest of asked.keys()) {
      if (asked.size <= MOST) break;
      asked.delete(oldest);
    }
    response.setHeader("set-cookie", `shop=${browser}; HttpOnly; SameSite=Lax; Path=/`);
    response.writeHead(303, { location: `/asked/${made.transaction}` }).end();
  }

  async function show(request: IncomingMessage, response: ServerResponse, transaction: string): Promise<void> {
    const known = asked.get(transaction);
    if (known === undefined || known.browser !== cookie(request)) return give(response, 404, refused("not found"));
    const outcome = await relying.outcome(transaction);
    give(response, 200, outcome.state === "waiting" ? waiting(known.link) : verdict(outcome));
  }
}

function give(response: ServerResponse, status: number, text: string, kind = "text/html; charset=utf-8"): void {
  response.writeHead(status, { "content-type": kind, "content-security-policy": POLICY, "cache-control": "no-store", "referrer-policy": "no-referrer" }).end(text);
}

function cookie(request: IncomingMessage): string | undefined {
  return /(?:^|; )shop=([\w-]+)/.exec(request.headers.cookie ?? "")?.[1];
}

/** JSON if it is, otherwise a JWT. */
function read(text: string): unknown {
  const trimmed = text.trim();
  if (!trimmed.startsWith("{")) return trimmed;
  try {
    return JSON.parse(trimmed) as unknown;
  } catch {
    throw new Refused("input.invalid", "no JSON");
  }
}

async function form(request: IncomingMessage): Promise<URLSearchParams> {
  let text = "";
  for await (const part of request) {
    text += String(part);
    if (text.length > LONGEST) throw new Refused("limit.body", "too long");
  }
  return new URLSearchParams(text);
}
