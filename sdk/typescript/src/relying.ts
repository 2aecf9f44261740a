/** A relying service's side: it asks people's wallets (OpenID4VP) and learns what came of it. Its API key has no place in a browser: for Node. */

import { surroundings, type Surroundings } from "./http.js";
import { Refused } from "./refused.js";

/** What is asked, by DCQL (OpenID4VP 6). */
export interface Query {
  credentials: object[];
  credential_sets?: object[];
}

/** Whose the answer may be: exactly one. */
export type Whose =
  /** Whoever comes back with the `response_code`: the browser that started it, on the device of the wallet. */
  | { redirectUri: string }
  /** This device's alone. */
  | { device: string }
  /** Anybody's who was shown the request: then something else has to say that it is the one who is there. */
  | { crossDevice: true };

/** A request that waits. */
export interface Asked {
  transaction: string;
  /** For a link, or a QR code. */
  authorizationRequest: string;
  /** Seconds. */
  expiresIn: number;
}

/** One check, and whether it holds. */
export interface Check {
  check: string;
  ok: boolean;
  /** Why not. */
  reason?: string;
}

/** One credential that was shown, as the verifier vouches for it. */
export interface Shown {
  device: string;
  issuer: string;
  subject: string;
  client_id: string;
  tier: "full" | "limited";
  jkt: string;
  claims: Record<string, unknown>;
  /** Unix seconds. */
  expires_at: number;
  status: { value: string; source: string };
  checks: Check[];
  /** Unix seconds. */
  checked_at: number;
}

/** A credential of another issuer, whom the operator trusts for its type. */
export interface ForeignShown {
  issuer: string;
  /** Its type. */
  vct: string;
  /** Thumbprint (RFC 7638) of the key it was shown with. */
  jkt: string;
  claims: Record<string, unknown>;
  checks: Check[];
  /** Unix seconds. */
  checked_at: number;
}

/** By its DID; by the operator's certificate; or by the link alone, unsigned: not with `crossDevice`, nor with transaction data. */
export type ClientIdPrefix = "decentralized_identifier" | "x509_hash" | "redirect_uri";

/** What came of a request. */
export type Outcome =
  | { state: "waiting" }
  | { state: "refused"; error: string }
  | { state: "answered"; credentials: Record<string, (Shown | ForeignShown)[]>; transaction_data: string[] };

/** What other people's credential is worth (VC-API). */
export interface Report {
  verified: boolean;
  by?: string;
  types: string[];
  /** Of an SD-JWT VC that was shown: thumbprint (RFC 7638) of its holder's key. */
  jkt?: string;
  subject?: unknown;
  checks: Check[];
  credentials?: Report[];
}

/** A service that relies on what Baton's verifier says. */
export class RelyingService {
  readonly #key: string;

  /** `verifier`: its URL, for example `https://baton.example/verifier`. */
  constructor(
    readonly verifier: string,
    apiKey: string,
    readonly around: Pick<Surroundings, "fetch"> = surroundings,
  ) {
    this.#key = apiKey;
  }

  /** Asks. `prefix`: how wallets are to know the verifier (OpenID4VP §5.9.3), where its operator has it so. */
  async ask(query: Query, whose: Whose, transactionData: object[] = [], prefix: ClientIdPrefix = "decentralized_identifier"): Promise<Asked> {
    const body: Record<string, unknown> = { dcql_query: query, response_mode: "direct_post.jwt", client_id_prefix: prefix };
    if (transactionData.length > 0) body["transaction_data"] = transactionData;
    if ("redirectUri" in whose) body["redirect_uri"] = whose.redirectUri;
    else if ("device" in whose) body["device"] = whose.device;
    else body["cross_device"] = true;
    const made = await this.#give<{ transaction: string; authorization_request: string; expires_in: number }>(await this.#send("POST", "/v1/transactions", body));
    return { transaction: made.transaction, authorizationRequest: made.authorization_request, expiresIn: made.expires_in };
  }

  /** Resolves once there is something to get with {@link outcome}: the wallet has answered, or said no; `false` when the time was over, or the stream ended before. */
  async settled(transaction: string, signal?: AbortSignal): Promise<boolean> {
    const headers = { authorization: `Bearer ${this.#key}`, accept: "text/event-stream" };
    const url = `${this.verifier}/v1/transactions/${encodeURIComponent(transaction)}/events`;
    const answer = await this.around.fetch(url, { headers, redirect: "error", ...(signal ? { signal } : {}) });
    if (!answer.ok || !answer.body) return this.#give(answer);
    let text = "";
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (/^event: ?(answered|refused)$/m.test(text)) return true;
    }
    return false;
  }

  /** What came of it. `responseCode`: what the browser brought back, where there was a `redirectUri`. */
  async outcome(transaction: string, responseCode?: string): Promise<Outcome> {
    const code = responseCode === undefined ? "" : `?response_code=${encodeURIComponent(responseCode)}`;
    return this.#give(await this.#send("GET", `/v1/transactions/${encodeURIComponent(transaction)}${code}`));
  }

  /** What a presentation that this service got by itself is worth; it made the nonce, which counts once. */
  async verify(presentation: string, audience: string, nonce: string, requiredClaims: string[] = []): Promise<Omit<Shown, "checks"> & { verdict: "valid" }> {
    return this.#give(await this.#send("POST", "/v1/presentations/verify", { presentation, audience, nonce, required_claims: requiredClaims }));
  }

  /** Whether somebody else's credential holds, by the policy of the verifier's operator. */
  async credential(verifiableCredential: unknown): Promise<Report> {
    const answer = await this.#send("POST", "/credentials/verify", { verifiableCredential });
    const body = (await answer.clone().json()) as Partial<Report>;
    // What does not hold is answered as 400, with the same report.
    return answer.status === 400 && Array.isArray(body.checks) ? (body as Report) : this.#give(answer);
  }

  #send(method: "GET" | "POST", path: string, body?: object): Promise<Response> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.#key}` };
    if (body) headers["content-type"] = "application/json";
    return this.around.fetch(this.verifier + path, { method, headers, redirect: "error", ...(body ? { body: JSON.stringify(body) } : {}) });
  }

  async #give<T>(answer: Response): Promise<T> {
    const body = (await answer.json()) as { code?: string; error?: string };
    if (!answer.ok) throw Refused.told(body.code ?? body.error ?? "unknown", "the verifier refused", answer.status);
    return body as T;
  }
}
