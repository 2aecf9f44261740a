/** What plays: films drawn on a canvas, and where the person is in them. All of it is in a document, which moves with the session. */

import type { Document, Replica } from "@baton/sdk/document";

/** A document, with or without a network. */
export type Reel = Pick<Document | Replica, "doc" | "get" | "set" | "state" | "keep">;

/** Where the film is: set when somebody starts, stops or moves it, and not while it only runs. */
export interface Now {
  film: string;
  /** Seconds into it, when this was set. */
  at: number;
  /** 1 while it runs. */
  rate: number;
}

/** What somebody wrote at a place in a film. */
export interface Note {
  film: string;
  at: number;
  text: string;
}

/** The document, as it is shown. */
export interface Film {
  queue: string[];
  now: Now;
  subtitles: boolean;
  notes: Note[];
}

export const LENGTH = 600;
const QUEUE = ["The General", "Metropolis", "Sherlock Jr."];
/** What is shown where there is no document yet. */
export const nothing: Film = { queue: QUEUE, now: { film: "The General", at: 0, rate: 0 }, subtitles: false, notes: [] };

/** What a new session begins with. */
export function begin(reel: Reel): void {
  reel.doc.getArray<string>("queue").push(QUEUE);
  reel.set("now", nothing.now);
}

/** Reads a document, which another version of this player may have written: what is missing is as at the beginning. */
export function read(reel: Reel): Film {
  const queue = reel.doc.getArray<unknown>("queue").toArray().filter((film) => typeof film === "string");
  const set = reel.get("now");
  const now = isNow(set) ? set : nothing.now;
  return { queue: queue.length === 0 ? QUEUE : queue, now, subtitles: reel.get("subtitles") === true, notes: reel.doc.getArray<unknown>("notes").toArray().filter(isNote) };
}

function isNow(now: unknown): now is Now {
  const { film, at, rate } = (now ?? {}) as Partial<Now>;
  return typeof film === "string" && typeof at === "number" && typeof rate === "number";
}

function isNote(note: unknown): note is Note {
  const { film, at, text } = (note ?? {}) as Partial<Note>;
  return typeof film === "string" && typeof at === "number" && typeof text === "string";
}

/** Notes of several devices stand beside each other, whoever was away while they were written. */
export function addNote(reel: Reel, note: Note): void {
  reel.doc.getArray<Note>("notes").push([note]);
}

/** The film after this one. */
export const next = ({ queue, now }: Film): Now => ({ film: queue[(queue.indexOf(now.film) + 1) % queue.length] ?? now.film, at: 0, rate: now.rate });

export const clock = (seconds: number): string => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

/** Draws one moment: a train that crosses the screen once a minute. */
export function draw(canvas: HTMLCanvasElement, { now, subtitles }: Film): void {
  const brush = canvas.getContext("2d");
  if (!brush) return;
  const { width, height } = canvas;
  const minute = (now.at % 60) / 60;
  brush.fillStyle = `hsl(${(now.at / LENGTH) * 360} 40% 20%)`;
  brush.fillRect(0, 0, width, height);
  brush.fillStyle = "#d8c8a0";
  brush.fillRect(0, height * 0.8, width, 4);
  for (let car = 0; car < 4; car++) brush.fillRect(minute * (width + 320) - 80 * (car + 1), height * 0.8 - 40, 70, 36);
  brush.font = "24px sans-serif";
  brush.fillText(now.film, 24, 40);
  if (subtitles) brush.fillText(`— ${clock(now.at)} —`, width / 2 - 50, height - 24);
}
