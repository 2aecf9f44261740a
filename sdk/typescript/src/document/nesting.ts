/**
 * How many types of a document are within each other: a library that reads or shows one within one calls itself as often. `sdk/rust/src/document/nesting.rs` is
 * the same in Rust.
 */

export interface Id {
  client: number;
  clock: number;
}

/** Where an item is: in one with a name or nowhere, in the type that another is, or wherever another is; of one that was collected, gone. */
export type Within = { in: Id } | { like: Id } | "root" | "gone";

interface Run {
  first: number;
  within: Within;
  /** In how many it is, once that is known. */
  level?: number;
}

/** Where all of a document's items are: of each client, by the first number of each run of them, in their order. */
export class Nesting {
  readonly #runs = new Map<number, Run[]>();

  /** A run of items. Those of a client come in their order. */
  add({ client, clock }: Id, within: Within): void {
    const runs = this.#runs.get(client);
    if (runs) runs.push({ first: clock, within });
    else this.#runs.set(client, [{ first: clock, within }]);
  }

  /** Whether none is in more than `most`, nor in itself. */
  isAtMost(most: number): boolean {
    return [...this.#runs.values()].every((runs) => runs.every((run) => this.#isAtMost(run, most)));
  }

  /** Whether that item was collected: one library would put what stands beside it elsewhere than the other. */
  isGone(item: Id): boolean {
    return this.#run(item)?.within === "gone";
  }

  /** Without calling itself. */
  #isAtMost(run: Run, most: number): boolean {
    const way: { run: Run; deeper: number }[] = [];
    const met = new Set<Run>();
    let at: Run | undefined = run;
    while (at && at.level === undefined) {
      if (typeof at.within === "string") at.level = 0;
      else {
        if (met.has(at)) return false;
        met.add(at);
        const next: Id = "in" in at.within ? at.within.in : at.within.like;
        way.push({ run: at, deeper: "in" in at.within ? 1 : 0 });
        at = this.#run(next);
      }
    }
    if (!at) return false;
    let level = at.level ?? 0;
    for (const { run: passed, deeper } of way.reverse()) {
      level += deeper;
      if (level > most) return false;
      passed.level = level;
    }
    return true;
  }

  #run({ client, clock }: Id): Run | undefined {
    const runs = this.#runs.get(client) ?? [];
    let [from, to] = [0, runs.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((runs[middle]?.first ?? 0) <= clock) from = middle + 1;
      else to = middle;
    }
    return runs[from - 1];
  }
}
