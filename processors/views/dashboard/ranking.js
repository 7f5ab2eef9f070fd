// What is on top, in an order that people can follow: it changes now and then, and not under a mouse or the keyboard.

import { highest } from "./windows.js";

export class Ranking {
  /** place: shows the ranking; everyMs: how long an order stays; again: is called when another may be made. */
  constructor(place, limit, everyMs, again) {
    Object.assign(this, { place, limit, everyMs, again });
    this.ids = [];
    this.madeAt = -Infinity;
    this.waiting = false;
  }

  /** Make a new order the next time, whoever points at it. */
  reset() {
    this.madeAt = -Infinity;
  }

  /** The items on top, from a Map of id -> item, that fit. */
  of(items, rank, fits) {
    const standing = this.ids.map((id) => items.get(id)).filter((item) => item !== undefined && fits(item));
    const full = standing.length === this.limit || standing.length === items.size;
    const held = this.place.matches(":focus-within") || (full && this.place.matches(":hover"));
    const fresh = full && performance.now() - this.madeAt < this.everyMs;
    if (this.madeAt > -Infinity && (held || fresh)) {
      this.later();
      return standing;
    }
    const top = highest(filtered(items.values(), fits), this.limit, rank);
    this.ids = top.map((item) => item.id);
    this.madeAt = performance.now();
    return top;
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    setTimeout(() => {
      this.waiting = false;
      this.again();
    }, this.everyMs);
  }
}

function* filtered(items, fits) {
  for (const item of items) if (fits(item)) yield item;
}
