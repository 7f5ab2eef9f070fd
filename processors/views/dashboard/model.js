// What the page knows, in one place: windows, what was heard, and the worker's clock. Knows nothing of the document.

import { channelOfWindow, Heard, stateOf } from "./heard.js";
import { knownFromMs, SPAN, together, Windows } from "./windows.js";

/** All assets together, in place of one asset's name: no asset's name is empty. */
export const ALL_ASSETS = "";

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The length in ms of a window's size as it was written: `1m`. */
export function sizeMs(name) {
  const [, number, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(name);
  return Number(number) * UNITS[unit];
}

const newWindows = () => ({
  liquidations: new Windows("liquidations", SPAN),
  liquidationsFromMs: Infinity, // from when on all of them are known
  imbalance: new Windows("imbalance", 2), // what ranks a market; a chart's span only of what is watched
});

export class Model {
  constructor() {
    this.sizes = [];
    this.size = null; // { name, ms }
    this.shown = newWindows();
    this.incoming = null; // what a connection that is new has told, until the lists are there too
    this.heard = new Heard();
    this.health = null;
    this.framesPerSecond = null;
    this.clockAheadMs = 0; // the worker's clock, less ours
  }

  get liquidations() {
    return this.shown.liquidations;
  }

  get imbalance() {
    return this.shown.imbalance;
  }

  /** Show windows of another size; what is known of the last is forgotten. */
  useSize(name) {
    this.size = { name, ms: sizeMs(name) };
    this.shown = newWindows();
    this.heard.liquidations.clear();
    this.renew();
  }

  /** Begin anew beside what is shown: events were missed, and only lists can fill that. */
  renew() {
    this.incoming = newWindows();
  }

  /** Take the lists that were asked for since, and show what is new: liquidations are all those from `fromMs` on. */
  takeLists(liquidations, imbalance, fromMs) {
    this.shown = this.incoming ?? this.shown;
    this.incoming = null;
    this.shown.liquidationsFromMs = fromMs;
    this.takeWindows("liquidations", liquidations);
    this.takeWindows("imbalance", imbalance);
  }

  /** Take window objects; returns whether anything changed. */
  takeWindows(kind, windows) {
    let changed = false;
    for (const window of windows) {
      if (window.window !== this.size.name) continue;
      this.heard.takeWindow(window);
      this.incoming?.[kind].take(window);
      if (this.shown[kind].take(window)) changed = true;
    }
    return changed;
  }

  takeHealth(health) {
    const before = this.health;
    const seconds = before === null ? 0 : (health.at_ms - before.at_ms) / 1_000;
    const frames = before === null ? 0 : health.counts.frames - before.counts.frames;
    this.framesPerSecond = seconds > 0 && frames >= 0 ? frames / seconds : null; // what is read again counts anew
    this.health = health;
    this.takeClock(health.at_ms);
    this.heard.takeHealth(health);
    if (this.size !== null) this.heard.forget(this.firstMs()); // no chart shows it
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
   * Before fromMs windows may be there that the page does not know: nothing can be said of one that it has not.
   */
  slots(channel, fromMs, windowAt) {
    const running = this.runningMs();
    const slots = [];
    for (let start = this.firstMs(); start <= running; start += this.size.ms) {
      const end = start + this.size.ms;
      const window = windowAt(start) ?? undefined;
      const known = window !== undefined || start >= fromMs;
      const heard = known ? this.heard.share(channel, start, end, window) : null;
      slots.push({ start, end, window, heard, state: stateOf(window, heard, start === running) });
    }
    return slots;
  }

  slotsOfAsset(asset) {
    const { series } = this.liquidations;
    const windowAt = (start) =>
      asset === ALL_ASSETS ? together(series.values(), start) : series.get(asset)?.windows.get(start);
    return this.slots("liquidations", this.shown.liquidationsFromMs, windowAt);
  }

  slotsOfMarket(series) {
    return this.slots(channelOfWindow(series.first), knownFromMs(series), (start) => series.windows.get(start));
  }
}
