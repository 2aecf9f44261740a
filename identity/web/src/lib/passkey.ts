/**
 * Passkey ceremonies with the PRF extension. Its output opens the root, so it leaves this module for nowhere but the SDK: what is posted is put
 * together here member by member, never by `toJSON()`, which would carry it along.
 */

import { PRF_SALT, Refused } from "@baton/sdk";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a ceremony gave. */
export interface Ceremony {
  /** To post. */
  credential: object;
  id: string;
  /** Opens this passkey's copy of the root; missing when the passkey cannot. */
  prf: Bytes | undefined;
}

type Options = { publicKey: Record<string, unknown> };

/** Registers a passkey. */
export async function create(options: Options): Promise<Ceremony> {
  const given = options.publicKey as { challenge: string; user: { id: string }; excludeCredentials?: { id: string }[] };
  const publicKey = {
    ...given,
    challenge: bytes(given.challenge),
    user: { ...given.user, id: bytes(given.user.id) },
    excludeCredentials: (given.excludeCredentials ?? []).map((one) => ({ ...one, id: bytes(one.id) })),
    extensions: { prf: { eval: { first: PRF_SALT } } },
  } as unknown as PublicKeyCredentialCreationOptions;
  const made = await ask(() => navigator.credentials.create({ publicKey }));
  const response = made.response as AuthenticatorAttestationResponse;
  const answer = {
    attestationObject: text(response.attestationObject),
    clientDataJSON: text(response.clientDataJSON),
    transports: response.getTransports(),
  };
  return ceremony(made, answer);
}

/** Signs in with any passkey this person has here; `open` asks for the output that opens the root, which is not asked for otherwise. */
export async function use(options: Options, open: boolean): Promise<Ceremony> {
  const given = options.publicKey as { challenge: string; allowCredentials?: { id: string }[] };
  const publicKey = {
    ...given,
    challenge: bytes(given.challenge),
    allowCredentials: (given.allowCredentials ?? []).map((one) => ({ ...one, id: bytes(one.id) })),
    extensions: open ? { prf: { eval: { first: PRF_SALT } } } : {},
  } as unknown as PublicKeyCredentialRequestOptions;
  const made = await ask(() => navigator.credentials.get({ publicKey }));
  const response = made.response as AuthenticatorAssertionResponse;
  const answer = {
    authenticatorData: text(response.authenticatorData),
    clientDataJSON: text(response.clientDataJSON),
    signature: text(response.signature),
    userHandle: response.userHandle === null ? null : text(response.userHandle),
  };
  return ceremony(made, answer);
}

async function ask(ceremonyOf: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  try {
    const made = await ceremonyOf();
    if (made instanceof PublicKeyCredential) return made;
  } catch {
    // Cancelled, timed out, or not there: the browser tells nobody which.
  }
  throw new Refused("webauthn.cancelled", "no passkey was used");
}

function ceremony(made: PublicKeyCredential, response: object): Ceremony {
  const first = made.getClientExtensionResults().prf?.results?.first;
  const prf = first instanceof ArrayBuffer ? new Uint8Array(first) : undefined;
  return { credential: { id: made.id, rawId: text(made.rawId), type: made.type, response, clientExtensionResults: {} }, id: made.id, prf };
}

function bytes(encoded: string): Bytes {
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

function text(buffer: ArrayBuffer): string {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
