/** Something a page does: under way, or refused with a sentence to show. */

import { say } from "./words.js";

/** How much is under way on this page: what takes a moment is shown (App.svelte). */
export const working = $state({ count: 0 });

/** One thing at a time; buttons look at `busy`, the alert at `problem`. */
export class Acting {
  busy = $state(false);
  problem = $state("");
  /** What was done, to be said. */
  told = $state("");

  /** Runs it. What it throws is said, never thrown on. */
  async run(act: () => Promise<void>): Promise<void> {
    this.busy = true;
    working.count++;
    [this.problem, this.told] = ["", ""];
    try {
      await act();
    } catch (error) {
      this.problem = say(error);
    } finally {
      this.busy = false;
      working.count--;
    }
  }
}
