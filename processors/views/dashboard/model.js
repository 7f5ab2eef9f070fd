// What the page knows, in one place: windows, what was heard, and the worker's clock. Knows nothing of the document.

import { channelOfWindow, Heard, stateOf } from "./heard.js";
import { SPAN, together, Windows } from "./windows.js";

/** All assets together, in place of one asset's name: no asset's name is empty. */
export const ALL_ASSETS = "";

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The length in ms of a window's size as it was written: `1m`. */
export function sizeMs(name) {
  const [, number, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(name);
  return Number(number) * UNITS[unit];
}

export class Model {
  constructor() {
    this.sizes = [];
    this.size = null; // { name, ms }
    this.liquidations = new Windows("liquidations", SPAN);
    this.imbalance = new Windows("imbalance", 2); // what ranks a market; a chart's span only of what is watched
    this.heard = new Heard();
    this.health = null;
    this.framesPerSecond = null;
    this.clockAheadMs = 0; // the worker's clock, less ours
  }

  /** Show windows of another size; what is known of the last is forgotten. */
  useSize(name) {
    this.size = { name, ms: sizeMs(name) };
    this.liquidations.clear();
    this.imbalance.clear();
    this.heard.liquidations.clear();
  }

  /** Take window objects; returns the series that changed. */
  takeWindows(kind, windows) {
    const changed = new Set();
    for (const window of windows) {
      if (window.window !== this.size.name) continue;
      this.heard.takeWindow(window);
      const series = this[kind].take(window);
      if (series !== null) changed.add(series);
    }
    return changed;
  }

  takeHealth(health) {
    const before = this.health;
    const seconds = before === null ? 0 : (health.at_ms - before.at_ms) / 1_000;
    const frames = before === null ? 0 : health.counts.frames - before.counts.frames;
    this.framesPerSecond = seconds > 0 && frames >= 0 ? frames / seconds : null; // a worker that is new begins at 0
    this.health = health;
    this.takeClock(health.at_ms);
    this.heard.takeHealth(health);
  }

  takeClock(atMs) {
    this.clockAheadMs = atMs - Date.now();
  }

  /** The worker's time of now. */
  nowMs() {
    return Date.now() + this.clockAheadMs;
  }

  /** Where the windows that a chart shows begin. */
  firstMs() {
    return this.runningMs() - (SPAN - 1) * this.size.ms;
  }

  /** Where the running window begins. */
  runningMs() {
    return Math.floor(this.nowMs() / this.size.ms) * this.size.ms;
  }

  /**
   * The windows a chart shows, oldest first, those without records too:
   * { start, end, window: undefined where nobody published one, heard: share or null, state: see heard.js }
   */
  slots(channel, windowAt) {
    const running = this.runningMs();
    const slots = [];
    for (let start = this.firstMs(); start <= running; start += this.size.ms) {
      const end = start + this.size.ms;
      const window = windowAt(start) ?? undefined;
      const heard = this.heard.share(channel, start, end, window);
      slots.push({ start, end, window, heard, state: stateOf(window, heard, start === running) });
    }
    return slots;
  }

  slotsOfAsset(asset) {
    const series = this.liquidations.series;
    if (asset === ALL_ASSETS) return this.slots("liquidations", (start) => together(series.values(), start));
    return this.slots("liquidations", (start) => series.get(asset)?.windows.get(start));
  }

  slotsOfMarket(series) {
    return this.slots(channelOfWindow(series.first), (start) => series.windows.get(start));
  }
}
