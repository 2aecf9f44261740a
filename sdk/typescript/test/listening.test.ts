/** Listening when a server was away: many come back, and not as one. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Http, listen, type Surroundings } from "../src/index.js";
import { around, full, restarted } from "./people.js";
import { Server } from "./server.js";

const MANY = 500;
/** When it is back, in milliseconds of a time that pauses alone let pass. */
const BACK = 10_000;

let server: Server;
before(async () => {
  server = await Server.start();
});
after(() => server.stop());

test("F12: of many that lost one server at the same moment, few come back at once, and none takes long", async () => {
  const laptop = await full(server, "Laptop");
  const comesBack = async (): Promise<number> => {
    let now = 0;
    return new Promise((resolve, reject) => {
      const away: Surroundings = {
        ...around,
        fetch() {
          if (now < BACK) return Promise.reject(new TypeError("nobody there"));
          resolve(now);
          return new Promise(() => undefined);
        },
        pause(milliseconds) {
          now += milliseconds;
          return Promise.resolve();
        },
      };
      restarted(laptop, new Http(away)).then((device) => void listen(device).next().catch(reject), reject);
    });
  };
  const came = (await Promise.all(Array.from({ length: MANY }, comesBack))).sort((a, b) => a - b);
  const busiest = Math.max(...came.map((at) => came.filter((other) => other >= at && other < at + 100).length));
  assert.ok(busiest < MANY / 10, `${busiest} of ${MANY} within 100 ms`);
  assert.ok((came.at(-1) ?? Infinity) < BACK + 30_000, `the last came after ${came.at(-1)} ms`);
});
