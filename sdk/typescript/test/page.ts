/** A page's document and window, as far as presence looks at them. */

import type { Surface } from "../src/index.js";

export class Page {
  visible = true;
  private readonly events = new EventTarget();

  get surface(): Surface {
    const page = this;
    const listeners = {
      addEventListener: this.events.addEventListener.bind(this.events) as Document["addEventListener"],
      removeEventListener: this.events.removeEventListener.bind(this.events) as Document["removeEventListener"],
    };
    return {
      document: {
        ...listeners,
        get visibilityState() {
          return page.visible ? ("visible" as const) : ("hidden" as const);
        },
      },
      window: listeners as unknown as Surface["window"],
    };
  }

  /** What a browser tells a page. */
  hears(event: "visibilitychange" | "pageshow" | "online"): void {
    this.events.dispatchEvent(new Event(event));
  }
}
