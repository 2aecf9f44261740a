/** A host of another party's: https on loopback, with a certificate of its own. */

import { createServer, type Server as Https } from "node:https";
import type { AddressInfo } from "node:net";
import { generate } from "selfsigned";

export class Host {
  /** What it has, by path, and what it was asked for. */
  readonly documents = new Map<string, string>();
  readonly asked: string[] = [];
  private constructor(
    private readonly server: Https,
    private readonly certificate: string,
  ) {}

  static async start(): Promise<Host> {
    const { private: key, cert } = await generate([{ name: "commonName", value: "localhost" }], {
      keyType: "ec",
      algorithm: "sha256",
      extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }] }],
    });
    const host: Host = new Host(
      createServer({ key, cert }, (request, response) => {
        const path = request.url ?? "";
        host.asked.push(path);
        const document = host.documents.get(path);
        response.writeHead(document === undefined ? 404 : 200).end(document);
      }),
      cert,
    );
    await new Promise<void>((ready) => host.server.listen(0, "localhost", ready));
    return host;
  }

  get name(): string {
    return `localhost:${(this.server.address() as AddressInfo).port}`;
  }

  /** As the verifier's policy names it. */
  get policy(): string {
    return `[[host]]\nname = "${this.name}"\nprivate = true\nroots = """\n${this.certificate}"""\n`;
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}
