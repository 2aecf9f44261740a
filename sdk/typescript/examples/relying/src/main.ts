/** `BATON_RELYING_KEY=.. npm start`: beside `make run`, with that key's hash in `baton.toml` (README, "Verify a presentation"). */

import { RelyingService } from "@baton/sdk/node";
import { service } from "./service.js";

const key = process.env["BATON_RELYING_KEY"];
if (key === undefined) throw new Error("BATON_RELYING_KEY is not set");
const relying = new RelyingService(process.env["BATON_VERIFIER"] ?? "http://localhost:7777/verifier", key);
const port = 5176;
const origin = `http://localhost:${port}`;
service(relying, () => origin).listen(port, "127.0.0.1", () => console.log(origin));
