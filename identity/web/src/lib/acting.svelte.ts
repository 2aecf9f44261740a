/** Something a page does: under way, or refused with a sentence to show. */

import { say } from "./words.js";

/** One thing at a time; buttons look at `busy`, the alert at `problem`. */
export class Acting {
  busy = $state(false);
  problem = $state("");
  /** What was done, to be said. */
  told = $state("");

  /** Runs it. What it throws is said, never thrown on. */
  async run(act: () => Promise<void>): Promise<void> {
    this.busy = true;
    [this.problem, this.told] = ["", ""];
    try {
      await act();
    } catch (error) {
      this.problem = say(error);
    } finally {
      this.busy = false;
    }
  }
}
