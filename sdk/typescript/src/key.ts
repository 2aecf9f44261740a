/** P-256 keys in their spellings: JWK (RFC 7517), thumbprint (RFC 7638), `did:key` (multicodec p256-pub, compressed point, base58btc). */

import { p256 } from "@noble/curves/nist.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { decodeExactly, encode, utf8, type Bytes } from "./base64url.js";
import { Refused } from "./refused.js";

/** The public members of the profile's JWKs. */
export interface Jwk {
  kty: "EC";
  crv: "P-256";
  x: string;
  y: string;
}

/** base64url of SHA-256: how digests are written everywhere here. */
export function hash(input: Uint8Array | string): string {
  return encode(sha256(typeof input === "string" ? utf8(input) : input));
}

/** A public key that is known to lie on the curve. */
export class PublicKey {
  /** The uncompressed point. */
  readonly sec1: Bytes;

  private constructor(point: Uint8Array) {
    this.sec1 = Uint8Array.from(point);
  }

  /** From a point, compressed or not. */
  static fromPoint(bytes: Uint8Array): PublicKey {
    try {
      return new PublicKey(p256.Point.fromBytes(bytes).toBytes(false));
    } catch {
      throw new Refused("jose.invalid", "point");
    }
  }

  /** From a JWK. Private members are refused, unknown ones ignored. */
  static fromJwk(jwk: object): PublicKey {
    if ("d" in jwk) throw new Refused("jose.invalid", "private key");
    const { kty, crv, x, y } = jwk as Partial<Jwk>;
    if (kty !== "EC" || crv !== "P-256" || typeof x !== "string" || typeof y !== "string") throw new Refused("jose.invalid", "alg");
    return PublicKey.fromPoint(Uint8Array.of(4, ...decodeExactly(x, 32), ...decodeExactly(y, 32)));
  }

  /** From a `did:key` in its one spelling. */
  static fromDid(did: string): PublicKey {
    const text = /^did:key:z([1-9A-HJ-NP-Za-km-z]{40,64})$/.exec(did)?.[1];
    const bytes = text === undefined ? undefined : base58Decode(text);
    if (bytes?.length !== 35 || bytes[0] !== 0x80 || bytes[1] !== 0x24) throw new Refused("vc.invalid", "did");
    const key = PublicKey.fromPoint(bytes.subarray(2));
    if (key.did !== did) throw new Refused("vc.invalid", "did");
    return key;
  }

  /** The key's `did:key`. */
  get did(): string {
    const compressed = p256.Point.fromBytes(this.sec1).toBytes(true);
    return `did:key:z${base58Encode(Uint8Array.of(0x80, 0x24, ...compressed))}`;
  }

  /** The DID URL of its one verification method: the `kid` of what the key signs. */
  get url(): string {
    return didUrl(this.did);
  }

  /** As a JWK. */
  get jwk(): Jwk {
    return { kty: "EC", crv: "P-256", x: encode(this.sec1.subarray(1, 33)), y: encode(this.sec1.subarray(33)) };
  }

  /** RFC 7638 thumbprint with SHA-256. */
  get thumbprint(): string {
    const { crv, kty, x, y } = this.jwk;
    return hash(JSON.stringify({ crv, kty, x, y }));
  }

  /** Whether it is the same point. */
  equals(other: PublicKey): boolean {
    return this.sec1.every((byte, at) => byte === other.sec1[at]);
  }

  /** Checks an ES256 signature in its 64-byte form. High-s values verify: nothing is ever remembered by its signature. */
  verifies(message: Uint8Array, signature: Uint8Array): boolean {
    return signature.length === 64 && p256.verify(signature, message, this.sec1, { lowS: false });
  }
}

/** `did#fragment` of a `did:key`. */
export function didUrl(did: string): string {
  return `${did}#${did.slice("did:key:".length)}`;
}

/** A private key in memory. Only keys derived from the root are ever held this way; a device's own never leaves WebCrypto. */
export class SoftKey {
  readonly public: PublicKey;
  readonly #scalar: Uint8Array;

  constructor(scalar: Uint8Array) {
    this.#scalar = Uint8Array.from(scalar);
    this.public = PublicKey.fromPoint(p256.getPublicKey(scalar, false));
  }

  /** ES256, deterministic (RFC 6979). */
  sign(message: Uint8Array): Bytes {
    return Uint8Array.from(p256.sign(message, this.#scalar, { lowS: false }));
  }

  /** Overwrites the scalar: the key signs nothing from here on. */
  forget(): void {
    this.#scalar.fill(0);
  }
}

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

function base58Encode(bytes: Uint8Array): string {
  let number = bytes.reduce((n, byte) => (n << 8n) | BigInt(byte), 0n);
  let out = "";
  for (; number > 0n; number /= 58n) out = BASE58.charAt(Number(number % 58n)) + out;
  return out;
}

/** Of a text whose first byte is not zero, which is all that is asked here. */
function base58Decode(text: string): Uint8Array {
  let number = 0n;
  for (const letter of text) number = number * 58n + BigInt(BASE58.indexOf(letter));
  const bytes: number[] = [];
  for (; number > 0n; number >>= 8n) bytes.unshift(Number(number & 255n));
  return Uint8Array.from(bytes);
}
