/**
 * A relying service asks to see this device's credential (OpenID4VP 1.0). The device answers the verifier it is enrolled with, whose request it can check, and
 * nobody else: nothing is sent to an address that a request names but the verifier's own (docs/protocol.md §15).
 */

import { CompactEncrypt, importJWK } from "jose";
import { decode, encode, utf8 } from "./base64url.js";
import { allClaims } from "./credential.js";
import { answerWith, readQuery } from "./dcql.js";
import type { Device } from "./device.js";
import { strictJson, unverifiedKid, verify } from "./jws.js";
import { PublicKey } from "./key.js";
import { Refused } from "./refused.js";

/** Whom requests are for that are shown to any wallet (§5.8). */
const ANY_WALLET = "https://self-issued.me/v2";
/** How far a clock may be ahead, in seconds. */
const AHEAD = 5;
const ENCS = ["A128GCM", "A256GCM"];

type Members = Record<string, unknown>;

interface Recipient {
  jwk: Members;
  enc: string;
}

/** One thing to agree to, and with which credential. */
interface Agreed {
  text: string;
  content: Members;
  credential: string;
}

interface Parts {
  clientId: string;
  nonce: string;
  state: string;
  responsePath: string;
  relying: string | undefined;
  recipient: Recipient | undefined;
  shown: Map<string, string[]>;
  claims: Members;
  agreed: Agreed[];
}

/** What a relying service asks for. Show the person who asks, what they would see and what is agreed to; then {@link answer} or {@link decline}. */
export class PresentationRequest {
  private constructor(
    private readonly device: Device,
    private readonly parts: Parts,
  ) {}

  /**
   * Reads what a link or QR code (`openid4vp://?..`) asks of this device. `known` are the types of transaction data that the app can show to a person: a
   * request with others is refused (§8.4). Nothing is told to anybody by reading but that somebody has.
   */
  static async read(device: Device, link: string, known: string[] = []): Promise<PresentationRequest> {
    const { http, kept: { servers: { verifier } } } = device;
    const did = `did:web:${verifier.replace(/^[a-z]+:\/\//, "").replaceAll(":", "%3A").replaceAll("/", ":")}`;
    const clientId = `decentralized_identifier:${did}`;
    const named = parameters(link);
    if (named.get("client_id") !== clientId) throw no("client");
    const path = below(verifier, "/oid4vp/requests/", named.get("request_uri"));
    const walletNonce = encode(http.around.random(32));
    const token = await http.plain({ method: "POST", service: verifier, path, form: { wallet_nonce: walletNonce } });
    if (typeof token !== "string") throw new Refused("transport", "no request");
    const kid = unverifiedKid(token);
    if (typeof kid !== "string" || !kid.startsWith(`${did}#`)) throw no("client");
    const key = await device.keyOf(verifier, kid.slice(did.length + 1));
    const { claims: asked } = verify(token, "oauth-authz-req+jwt", () => key);
    if (asked["client_id"] !== clientId || asked["aud"] !== ANY_WALLET) throw no("client");
    const [now, iat, exp] = [http.seconds(verifier), asked["iat"], asked["exp"]];
    const timely = Number.isInteger(iat) && Number.isInteger(exp) && Number(iat) <= now + AHEAD && Number(exp) > now;
    if (asked["wallet_nonce"] !== walletNonce || !timely) throw no("stale");
    return new PresentationRequest(device, read(asked, { clientId, verifier, known, claims: allClaims(device.kept.credential) }));
  }

  /** Who asks, by the verifier's word. */
  get relying(): string | undefined {
    return this.parts.relying;
  }

  /**
   * Every claim that the answer discloses. Beside them it shows what every presentation does: the person as this app knows them, the device's key, its tier and
   * the app.
   */
  get discloses(): Members {
    const names = new Set([...this.parts.shown.values()].flat());
    return Object.fromEntries(Object.entries(this.parts.claims).filter(([name]) => names.has(name)));
  }

  /** What is agreed to by answering. */
  get agreesTo(): Members[] {
    return this.parts.agreed.map(({ content }) => content);
  }

  /**
   * Shows the credential. Gives where the person's browser goes on, if anywhere. A request takes one answer: `vp.state` when it has had one, perhaps this one
   * before, whose reply was lost.
   */
  async answer(): Promise<string | undefined> {
    const { clientId: audience, nonce, state, shown, agreed, recipient } = this.parts;
    const { verifier } = this.device.kept.servers;
    const token: Record<string, string[]> = {};
    for (const [id, names] of shown) {
      const data = agreed.filter(({ credential }) => credential === id).map(({ text }) => text);
      token[id] = [await this.device.present({ audience, nonce, data }, names, verifier)];
    }
    if (!recipient) return this.#send({ vp_token: JSON.stringify(token), state });
    const { kid } = recipient.jwk;
    const header = { alg: "ECDH-ES", enc: recipient.enc, ...(typeof kid === "string" ? { kid } : {}) };
    const key = await importJWK({ ...recipient.jwk }, "ECDH-ES");
    return this.#send({ response: await new CompactEncrypt(utf8(JSON.stringify({ vp_token: token, state }))).setProtectedHeader(header).encrypt(key) });
  }

  /** Says that the person does not want to. */
  decline(): Promise<string | undefined> {
    return this.#send({ error: "access_denied", state: this.parts.state });
  }

  async #send(form: Record<string, string>): Promise<string | undefined> {
    const { http, kept: { servers: { verifier } } } = this.device;
    const said = (await http.plain({ method: "POST", service: verifier, path: this.parts.responsePath, form })) as Members | null;
    const landing = said?.["redirect_uri"];
    if (landing === undefined) return undefined;
    if (typeof landing !== "string" || !isLanding(landing)) throw new Refused("transport", "redirect_uri");
    return landing;
  }
}

function no(reason: string): Refused {
  return new Refused("vp.request", reason);
}

/** The parameters of a link, each said once. */
function parameters(link: string): Map<string, string> {
  if (!link.startsWith("openid4vp:") || !URL.canParse(link)) throw no("link");
  const pairs = [...new URL(link).searchParams];
  const named = new Map(pairs);
  if (named.size !== pairs.length) throw no("link");
  return named;
}

/** The path of one name below a path of this service, and nothing that could be read as another address. */
function below(service: string, path: string, uri: unknown): string {
  const name = typeof uri === "string" && uri.startsWith(service + path) ? uri.slice(service.length + path.length) : "";
  if (!/^[A-Za-z0-9_-]+$/.test(name)) throw no("address");
  return path + name;
}

/** Where a browser may be sent. */
function isLanding(uri: string): boolean {
  if (!URL.canParse(uri)) return false;
  const { protocol, hostname } = new URL(uri);
  return protocol === "https:" || (protocol === "http:" && hostname === "localhost");
}

/** What is asked for (§5.1), as far as it is read; other parameters are ignored. */
function read(asked: Members, { clientId, verifier, known, claims }: { clientId: string; verifier: string; known: string[]; claims: Members }): Parts {
  const { response_type: type, response_mode: mode, redirect_uri: redirect, nonce, state, client_metadata: metadata = {}, transaction_data: data = [] } = asked;
  const responsePath = below(verifier, "/oid4vp/responses/", asked["response_uri"]);
  const whole = type === "vp_token" && redirect === undefined && typeof nonce === "string" && typeof state === "string";
  const { client_name: relying } = metadata as Members;
  if (!whole || (mode !== "direct_post" && mode !== "direct_post.jwt") || (relying !== undefined && typeof relying !== "string")) throw no("form");
  const recipient = mode === "direct_post" ? undefined : recipientOf(metadata as Members);
  const query = readQuery(asked["dcql_query"]);
  if (!Array.isArray(data)) throw no("transaction data");
  const agreed = data.map((text) => agree(text, known));
  const shown = answerWith(query, claims, agreed.map(({ credential }) => credential));
  if (!shown) throw new Refused("vp.unmet", "its credential is not what is asked for");
  return { clientId, nonce, state, responsePath, relying, recipient, shown, claims, agreed };
}

/** Whom an answer is sealed to (§8.3). */
function recipientOf({ jwks, encrypted_response_enc_values_supported: names }: Members): Recipient {
  const keys = (jwks as { keys?: unknown } | undefined)?.keys;
  const usable = ({ alg, use }: Members): boolean => alg === "ECDH-ES" && (use === undefined || use === "enc");
  const jwk = Array.isArray(keys) ? (keys as Members[]).find(usable) : undefined;
  const enc = names === undefined ? ENCS[0] : Array.isArray(names) ? names.find((name): name is string => ENCS.includes(name as string)) : undefined;
  if (!jwk || enc === undefined) throw no("form");
  return { jwk: { ...PublicKey.fromJwk(jwk).jwk, kid: jwk["kid"] }, enc };
}

/** One thing to agree to, if the app knows its type. What Baton's own handoffs agree to is never agreed to for a relying service. */
function agree(text: unknown, known: string[]): Agreed {
  let content: Members | null = null;
  try {
    content = strictJson(decode(text as string));
  } catch {
    throw no("transaction data");
  }
  const { type, credential_ids: ids, transaction_data_hashes_alg: algs } = content ?? {};
  const shown = typeof type === "string" && known.includes(type) && !type.startsWith("baton.");
  const hashed = algs === undefined || (Array.isArray(algs) && algs.includes("sha-256"));
  if (content === null || !shown || !hashed || !Array.isArray(ids) || ids.length !== 1 || typeof ids[0] !== "string") throw no("transaction data");
  return { text: text as string, content, credential: ids[0] };
}
