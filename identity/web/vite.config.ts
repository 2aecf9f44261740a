import { svelte } from "@sveltejs/vite-plugin-svelte";
import { copyFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { defineConfig, type Plugin } from "vite";

/** `/docs`: Swagger UI as it comes, in a folder of its own. It is no part of the bundle that is put at the origin where passkeys live. */
function documents(): Plugin {
  const theirs = createRequire(import.meta.url).resolve("swagger-ui-dist/package.json").replace("package.json", "");
  const files = [
    ...["swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "LICENSE"].map((name) => theirs + name),
    ...["index.html", "start.js"].map((name) => new URL(`docs/${name}`, import.meta.url).pathname),
  ];
  return {
    name: "documents",
    writeBundle() {
      const to = new URL("docs/dist/", import.meta.url).pathname;
      mkdirSync(to, { recursive: true });
      for (const file of files) copyFileSync(file, to + file.slice(file.lastIndexOf("/") + 1));
    },
  };
}

// One bundle, no inline code, nothing from elsewhere: the pages' policy allows nothing else.
export default defineConfig({
  plugins: [svelte(), documents()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: true },
});
