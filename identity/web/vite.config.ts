import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// One bundle, no inline code, nothing from elsewhere: the pages' policy allows nothing else.
export default defineConfig({
  plugins: [svelte()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, reportCompressedSize: true },
});
