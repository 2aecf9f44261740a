/** What plays: films drawn on a canvas, and where the person is in them. All of it moves with the session. */

/** The state that moves from device to device. */
export interface Film {
  queue: string[];
  /** Seconds into the first of the queue. */
  position: number;
  playing: boolean;
  subtitles: boolean;
}

export const LENGTH = 600;

/** What a new session begins with. */
export const beginning: Film = { queue: ["The General", "Metropolis", "Sherlock Jr."], position: 0, playing: false, subtitles: false };

/** As bytes to seal. */
export const write = (film: Film): Uint8Array => new TextEncoder().encode(JSON.stringify(film));

/** From bytes another device of this person sealed, which may be of an older version: what is missing is as at the beginning. */
export const read = (content: Uint8Array): Film => ({ ...beginning, ...(content.length === 0 ? {} : (JSON.parse(new TextDecoder().decode(content)) as Partial<Film>)) });

/** Draws one moment: a train that crosses the screen once a minute. */
export function draw(canvas: HTMLCanvasElement, film: Film): void {
  const brush = canvas.getContext("2d");
  if (!brush) return;
  const { width, height } = canvas;
  const minute = (film.position % 60) / 60;
  brush.fillStyle = `hsl(${(film.position / LENGTH) * 360} 40% 20%)`;
  brush.fillRect(0, 0, width, height);
  brush.fillStyle = "#d8c8a0";
  brush.fillRect(0, height * 0.8, width, 4);
  for (let car = 0; car < 4; car++) brush.fillRect(minute * (width + 320) - 80 * (car + 1), height * 0.8 - 40, 70, 36);
  brush.font = "24px sans-serif";
  brush.fillText(film.queue[0] ?? "", 24, 40);
  if (film.subtitles) brush.fillText(`— minute ${Math.floor(film.position / 60)} —`, width / 2 - 70, height - 24);
}
