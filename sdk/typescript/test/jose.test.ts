/** Section A of attacks.md, as far as this SDK reads tokens; RFC 7515, RFC 8725. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode, utf8 } from "../src/base64url.js";
import { PublicKey, Refused, Root, hash } from "../src/index.js";
import { sign, verify } from "../src/jws.js";

const key = Root.generate().account;
const check = (token: string) => verify(token, "baton-log+jwt", () => key.public);
const refused = (reason: string) => (error: unknown) => error instanceof Refused && error.reason === reason;

function made(header: object, payload: string, by = key): string {
  const input = `${encode(JSON.stringify(header))}.${encode(payload)}`;
  return `${input}.${encode(by.sign(utf8(input)))}`;
}

test("one algorithm, one kind, no keys or URLs from headers", () => {
  const header = { alg: "ES256", typ: "baton-log+jwt" };
  assert.equal(check(made(header, "{}")).payloadHash, hash("{}"), "the control");
  for (const alg of ["none", "HS256", "ES384", "EdDSA", "es256", null]) assert.throws(() => check(made({ ...header, alg }, "{}")), refused("alg"));
  for (const name of ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"]) assert.throws(() => check(made({ ...header, [name]: "x" }, "{}")), refused("header"));
  for (const typ of ["JWT", "kb+jwt", "dc+sd-jwt", undefined]) assert.throws(() => check(made({ ...header, typ }, "{}")), refused("typ"));
  assert.throws(() => check(made(header, "{}", Root.generate().account)), refused("sig"));
  for (const payload of ["[]", '{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"a":1,"\\u0061":2}', "\ufeff{}"]) assert.throws(() => check(made(header, payload)), refused("json"), payload);
  assert.equal(check(made(header, '{"a":"b\\":","c":[{"d":1},{"d":2}]}')).claims["a"], 'b":', "strings that look like members are none");
  for (const kid of ["../x", "a b", "k".repeat(257)]) assert.throws(() => check(made({ ...header, kid }, "{}")), refused("kid"));
  assert.throws(() => check(made({ ...header, filler: "x".repeat(5000) }, "{}")), refused("limit"));
  const token = sign("baton-log+jwt", key, {});
  for (const form of ["", "a.b", `${token}.x`, `.${token}`]) assert.throws(() => check(form), Refused);
  for (const alias of [`${token}=`, ` ${token}`, `${token}\n`]) assert.throws(() => check(alias), refused("encoding"));
  const [head, body, signature = ""] = token.split(".");
  for (const bytes of [new Uint8Array(64), decode(signature).subarray(1)]) assert.throws(() => check(`${head}.${body}.${encode(bytes)}`), Refused);
});

test("base64url has one form for each value", () => {
  assert.deepEqual([...decode("AQ")], [1]);
  for (const alias of ["AQ==", "AR", "A Q", "+/", "A"]) assert.throws(() => decode(alias), refused("encoding"));
  for (let length = 0; length < 70; length++) {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    assert.deepEqual([...decode(encode(bytes))], [...bytes]);
    assert.equal(encode(bytes), Buffer.from(bytes).toString("base64url"));
  }
});

/** From the did:key specification's P-256 test vectors. */
test("did:key of P-256", () => {
  const did = "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169";
  const jwk = { kty: "EC", crv: "P-256", x: "fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI", y: "hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU" };
  assert.equal(PublicKey.fromJwk(jwk).did, did);
  assert.deepEqual(PublicKey.fromDid(did).jwk, jwk);
  const foreign = ["did:web:a.example", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", `${did}1`, did.replace("key:z", "key:m"), ""];
  for (const other of foreign) assert.throws(() => PublicKey.fromDid(other), Refused);
  assert.throws(() => PublicKey.fromJwk({ ...jwk, d: "AA" }), refused("private key"));
  assert.throws(() => PublicKey.fromJwk({ ...jwk, y: jwk.x }), refused("point"));
});
