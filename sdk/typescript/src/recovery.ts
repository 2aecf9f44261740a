/** The recovery code: 128 random bits that a person writes down. */

import { utf8, type Bytes } from "./base64url.js";
import { hash } from "./key.js";
import { systemRandom, type Random } from "./random.js";
import { Refused } from "./refused.js";

/** Crockford's base 32: nothing that looks like something else. */
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** A recovery code. Printing it as an object shows nothing of it. */
export class RecoveryCode {
  readonly #bytes: Bytes;

  constructor(bytes: Bytes) {
    if (bytes.length !== 16) throw new RangeError("a recovery code has 16 bytes");
    this.#bytes = bytes;
  }

  /** A new one. */
  static generate(random: Random = systemRandom): RecoveryCode {
    return new RecoveryCode(random(16));
  }

  /** From what a person typed: any case, spaces or dashes, O for 0, I and L for 1. The last letter checks the others. */
  static parse(typed: string): RecoveryCode {
    const clean = typed.toUpperCase().replaceAll(/[\s-]/g, "").replaceAll("O", "0").replaceAll(/[IL]/g, "1");
    const values = [...clean].map((letter) => ALPHABET.indexOf(letter));
    const check = values.pop();
    if (values.length !== 26 || check === undefined || values.includes(-1) || (values[0] ?? 8) >= 8) throw new Refused("wrap.invalid", "invalid");
    const number = values.reduce((n, value) => (n << 5n) | BigInt(value), 0n);
    if (Number(number % 31n) !== check) throw new Refused("wrap.invalid", "invalid");
    return new RecoveryCode(Uint8Array.from({ length: 16 }, (_, at) => Number((number >> BigInt(8 * (15 - at))) & 255n)));
  }

  /** As the person writes it down: `XXXX-XXXX-..`. */
  words(): string {
    const number = this.#bytes.reduce((n, byte) => (n << 8n) | BigInt(byte), 0n);
    const values = Array.from({ length: 26 }, (_, at) => Number((number >> BigInt(5 * (25 - at))) & 31n));
    const letters = [...values, Number(number % 31n)].map((value) => ALPHABET.charAt(value)).join("");
    return letters.match(/.{1,4}/g)?.join("-") ?? "";
  }

  /** How the account is found: the code does not follow from it. */
  id(): string {
    return hash(Uint8Array.of(...utf8("baton/recovery-id/1\n"), ...this.#bytes));
  }

  /** The bytes, to wrap under. */
  secret(): Bytes {
    return this.#bytes;
  }

  toJSON(): string {
    return "[recovery code]";
  }
}
