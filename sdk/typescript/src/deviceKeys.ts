/** A device's own keys: made by WebCrypto, never exported. IndexedDB can keep them as they are; {@link DeviceKeys} is what goes there. */

import type { Bytes } from "./base64url.js";
import { PublicKey } from "./key.js";

/** Anything that signs ES256 for one public key: WebCrypto here, an enclave elsewhere. */
export interface Signer {
  readonly public: PublicKey;
  sign(input: Bytes): Promise<Bytes>;
}

/** Both keys of a device as structured-cloneable values. */
export interface DeviceKeys {
  signing: CryptoKeyPair;
  agreement: CryptoKeyPair;
}

/** Fresh keys; nobody can read them, unless where they are kept needs to. */
export async function generateDeviceKeys(extractable = false): Promise<DeviceKeys> {
  const [signing, agreement] = await Promise.all([
    crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, extractable, ["sign", "verify"]),
    crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, extractable, ["deriveBits"]),
  ]);
  return { signing, agreement };
}

/** The public half of a key pair. */
export async function publicKeyOf(pair: CryptoKeyPair): Promise<PublicKey> {
  return PublicKey.fromPoint(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
}

/** A signer over a WebCrypto key pair. */
export async function signerOf(pair: CryptoKeyPair): Promise<Signer> {
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  const sign = async (input: Bytes): Promise<Bytes> => new Uint8Array(await crypto.subtle.sign(algorithm, pair.privateKey, input));
  return { public: await publicKeyOf(pair), sign };
}
