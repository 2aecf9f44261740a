import { svelte } from "@sveltejs/vite-plugin-svelte";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { defineConfig, type Plugin } from "vite";

/** `/docs`: Swagger UI as it comes, beside the pages and apart from them. */
function documents(): Plugin {
  const theirs = createRequire(import.meta.url).resolve("swagger-ui-dist/package.json").replace("package.json", "");
  const files = [
    ...["swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "LICENSE"].map((name) => theirs + name),
    ...["index.html", "start.js"].map((name) => new URL(`docs/${name}`, import.meta.url).pathname),
  ];
  return {
    name: "documents",
    generateBundle() {
      for (const file of files) this.emitFile({ type: "asset", fileName: `docs/${file.slice(file.lastIndexOf("/") + 1)}`, source: readFileSync(file) });
    },
  };
}

// One bundle, no inline code, nothing from elsewhere: the pages' policy allows nothing else.
export default defineConfig({
  plugins: [svelte(), documents()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: true },
});
