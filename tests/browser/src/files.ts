/** Static files at an origin of their own, as anybody would serve them: what is not there is the page. */

import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";

const KINDS: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".json": "application/json" };

export class Files {
  /** Files that are not on disk, by path. */
  readonly made = new Map<string, string>();
  /** Sent with each. */
  readonly headers = new Map<string, string>();

  private constructor(private readonly server: Server) {}

  /** Serves a folder of built files. */
  static async serve(built: URL): Promise<Files> {
    const server = createServer((request, answer) => {
      const path = new URL(request.url ?? "/", "http://files").pathname;
      const name = path.startsWith("/assets/") || files.made.has(path) ? path.slice(1) : "index.html";
      for (const [header, value] of files.headers) answer.setHeader(header, value);
      answer.setHeader("content-type", KINDS[extname(name)] ?? "text/plain");
      const made = files.made.get(path);
      if (made !== undefined) return void answer.end(made);
      readFile(new URL(name, built)).then(
        (body) => answer.end(body),
        () => answer.writeHead(404).end(),
      );
    });
    const files = new Files(server.listen(0, "127.0.0.1"));
    await new Promise((resolve) => server.once("listening", resolve));
    return files;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  stop(): void {
    this.server.close();
  }
}
