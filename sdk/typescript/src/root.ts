/** The root: made, wrapped, opened for the moment of an approval, and forgotten (docs/protocol.md §2). No server ever sees it. */

import { p256 } from "@noble/curves/nist.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { utf8, type Bytes } from "./base64url.js";
import { SoftKey, hash } from "./key.js";
import { sign } from "./jws.js";
import { systemRandom, type Random } from "./random.js";
import type { RecoveryCode } from "./recovery.js";
import { Refused } from "./refused.js";
import { open, seal, type WrappedRoot } from "./wrap.js";

/** The salt of the `prf` extension that opens a copy. */
export const PRF_SALT: Bytes = utf8("baton/prf/1");

/** A root in clear. Call {@link Root.forget} as soon as what it was opened for is done. */
export class Root {
  readonly #seed: Bytes;
  /** Known to identity and the pages alone. */
  readonly account: SoftKey;

  private constructor(seed: Bytes) {
    this.#seed = Uint8Array.from(seed);
    this.account = derive(seed, "baton/account/1");
  }

  /** A new root. */
  static generate(random: Random = systemRandom): Root {
    return Root.fromSeed(random(32));
  }

  /** From a seed of 32 bytes, which is copied. */
  static fromSeed(seed: Bytes): Root {
    if (seed.length !== 32) throw new RangeError("a seed has 32 bytes");
    return new Root(seed);
  }

  /** What the person knows it by, and what its copies name. */
  get fingerprint(): string {
    return hash(this.account.public.sec1);
  }

  /** The issuer key for an app: the only root identity that app sees. */
  issuer(app: string): SoftKey {
    return derive(this.#seed, `baton/issuer/1/${app}`);
  }

  /** A copy that a passkey's PRF output opens. */
  wrapForPasskey(prf: Bytes, credentialId: string, rpId: string, random: Random = systemRandom): Promise<WrappedRoot> {
    const opener = { kind: "passkey", credential_id: credentialId, rp_id: rpId } as const;
    return seal(this.#seed, prf, this.fingerprint, opener, random(32), random(12));
  }

  /** A copy that the recovery code opens. */
  wrapForRecovery(code: RecoveryCode, random: Random = systemRandom): Promise<WrappedRoot> {
    return seal(this.#seed, code.secret(), this.fingerprint, { kind: "recovery" }, random(32), random(12));
  }

  /**
   * Opens a passkey's copy. `expected` is the fingerprint this client knows: a server that swaps copies (another account's, another
   * credential's, an older root's, its own) is caught.
   */
  static async unwrap(wrapped: WrappedRoot, prf: Bytes, credentialId: string, rpId: string, expected: string): Promise<Root> {
    const { opener } = wrapped;
    if (opener.kind !== "passkey" || opener.credential_id !== credentialId || opener.rp_id !== rpId) throw new Refused("wrap.invalid", "invalid");
    return Root.#opened(await open(wrapped, prf), expected);
  }

  /** Opens the recovery copy. */
  static async recover(wrapped: WrappedRoot, code: RecoveryCode): Promise<Root> {
    if (wrapped.opener.kind !== "recovery") throw new Refused("wrap.invalid", "invalid");
    return Root.#opened(await open(wrapped, code.secret()), wrapped.root);
  }

  static #opened(seed: Bytes, expected: string): Root {
    const root = new Root(seed);
    seed.fill(0);
    if (root.fingerprint === expected) return root;
    root.forget();
    throw new Refused("wrap.invalid", "invalid");
  }

  /** Proof at sign-up and recovery that this client holds the root whose copies it uploads. */
  proof(identity: string, ceremony: string): string {
    return sign("baton-account+jwt", this.account, { v: 1, aud: identity, ceremony, root: this.fingerprint });
  }

  /** Overwrites the seed and the account key. */
  forget(): void {
    this.#seed.fill(0);
    this.account.forget();
  }

  toJSON(): string {
    return "[root]";
  }
}

/** FIPS 186-5 A.2.1: 48 bytes of HKDF-SHA-256, big-endian, modulo n - 1, plus 1. */
function derive(seed: Bytes, info: string): SoftKey {
  const wide = hkdf(sha256, seed, undefined, utf8(info), 48);
  const number = wide.reduce((n, byte) => (n << 8n) | BigInt(byte), 0n);
  const scalar = p256.Point.Fn.toBytes((number % (p256.Point.Fn.ORDER - 1n)) + 1n);
  const key = new SoftKey(scalar);
  wide.fill(0);
  scalar.fill(0);
  return key;
}
