/** Documents that another program drives, line by line: `sdk/rust/tests/it/document.rs` does each edit here and in Rust, and compares. */

import { createInterface } from "node:readline";
import { State } from "../src/document/state.js";

type Deed =
  | ["insert", number, string]
  | ["delete", number, number]
  | ["put", string, string]
  | ["drop", string]
  | ["push", number, string]
  | ["pull", number]
  | ["set", string, unknown, number, string]
  | ["merge", string]
  | ["encode"];

const states = new Map<number, State>();

function act(state: State, [name, ...given]: Deed): unknown {
  const { doc } = state;
  const [text, map, list] = [doc.getText("text"), doc.getMap("map"), doc.getArray("list")];
  const [a, b, c, d] = given as [never, never, never, never];
  switch (name) {
    case "insert":
      return void text.insert(a, b);
    case "delete":
      return void text.delete(a, b);
    case "put":
      return void map.set(a, b);
    case "drop":
      return void map.delete(a);
    case "push":
      return void list.insert(a, [b]);
    case "pull":
      return void list.delete(a, 1);
    case "set":
      return void state.set(a, b, c, d);
    case "merge":
      return state.merge(Buffer.from(a, "base64"), Infinity);
    case "encode":
      return Buffer.from(state.encode()).toString("base64");
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { replica, deed } = JSON.parse(line) as { replica: number; deed: Deed };
  const state = states.get(replica) ?? new State(Uint8Array.of(0, 0, 1 + (replica >> 8), replica));
  states.set(replica, state);
  let gave: unknown;
  try {
    gave = { gave: act(state, deed) ?? null };
  } catch (error) {
    gave = { refused: String((error as { code?: unknown }).code ?? error) };
  }
  const registers = Object.fromEntries(state.names().map((name) => [name, state.get(name)]));
  const { doc } = state;
  const shown = { text: doc.getText("text").toJSON(), map: doc.getMap("map").toJSON(), list: doc.getArray("list").toJSON() as unknown, registers };
  process.stdout.write(`${JSON.stringify({ ...(gave as object), shown })}\n`);
}
