// What is on top, in an order that people can follow: it changes now and then, and not under a mouse or the keyboard.

import { highest } from "./windows.js";

export class Ranking {
  /** place: an element that shows the ranking; everyMs: how long an order stays. */
  constructor(place, limit, everyMs) {
    Object.assign(this, { place, limit, everyMs });
    this.ids = [];
    this.madeAt = -Infinity;
  }

  /** Make a new order the next time, whoever points at it. */
  reset() {
    this.madeAt = -Infinity;
  }

  /** The items on top, from a Map of id -> item, that fit. */
  of(items, rank, fits) {
    const standing = this.ids.map((id) => items.get(id)).filter((item) => item !== undefined && fits(item));
    const full = standing.length === this.limit || standing.length === items.size;
    const held = full && this.place.matches(":hover, :focus-within");
    const fresh = full && performance.now() - this.madeAt < this.everyMs;
    if (this.madeAt > -Infinity && (held || fresh)) return standing;
    const top = highest(filtered(items.values(), fits), this.limit, rank);
    this.ids = top.map((item) => item.id);
    this.madeAt = performance.now();
    return top;
  }
}

function* filtered(items, fits) {
  for (const item of items) if (fits(item)) yield item;
}
