import { mount } from "svelte";
import App from "./App.svelte";
import { language } from "./lib/language.svelte.js";
import "./style.css";

// In the person's language from the first word on; in English, should that not load.
void language
  .begin()
  .catch(() => undefined)
  .then(() => mount(App, { target: document.getElementById("app") as HTMLElement }));
