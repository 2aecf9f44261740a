/** A certificate authority of another party's, by @peculiar/x509. */

import * as x509 from "@peculiar/x509";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dates = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };

export class Authority {
  private constructor(
    private readonly keys: CryptoKeyPair,
    private readonly own: x509.X509Certificate,
    private readonly keyIdentifier: string,
  ) {}

  static async make(): Promise<Authority> {
    const keys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
    const identifier = await x509.SubjectKeyIdentifierExtension.create(keys.publicKey);
    const extensions = [new x509.BasicConstraintsExtension(true), identifier];
    const own = await x509.X509CertificateGenerator.createSelfSigned({ name: "CN=authority", keys, signingAlgorithm: P256, extensions, ...dates });
    return new Authority(keys, own, identifier.keyId);
  }

  get root(): string {
    return `${this.own.toString("pem")}\n`;
  }

  /** base64url, as `trusted_authorities` has it. */
  get aki(): string {
    return Buffer.from(this.keyIdentifier, "hex").toString("base64url");
  }

  /** A certificate for this key, which names these URLs. */
  async certify(publicKey: CryptoKey, urls: string[]): Promise<x509.X509Certificate> {
    const names = urls.map((value) => ({ type: "url" as const, value }));
    return x509.X509CertificateGenerator.create({
      subject: "CN=leaf",
      issuer: this.own.subject,
      publicKey,
      signingKey: this.keys.privateKey,
      signingAlgorithm: P256,
      extensions: [await x509.AuthorityKeyIdentifierExtension.create(this.keys.publicKey), ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : [])],
      ...dates,
    });
  }

  /** A chain and its key, as operators have them in files. */
  async certificate(): Promise<{ chain: string; key: string }> {
    const { publicKey, privateKey } = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
    const pkcs8 = await crypto.subtle.exportKey("pkcs8", privateKey);
    const key = x509.PemConverter.encode(pkcs8, "PRIVATE KEY");
    return { chain: (await this.certify(publicKey, [])).toString("pem"), key };
  }
}
