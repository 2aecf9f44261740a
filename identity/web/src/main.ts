import { mount } from "svelte";
import App from "./App.svelte";
import { language } from "./lib/language.svelte.js";
import { findIdentity } from "./lib/place.js";
import "./style.css";

// In the person's language from the first word on; in English, should that not load.
void Promise.allSettled([language.begin(), findIdentity()]).then(() => mount(App, { target: document.getElementById("app") as HTMLElement }));
