// What is known of when the feed was heard: a window without records is quiet, missing, or nobody can say. Pure.
//
//     a window's own coverage, once it is final         says it exactly
//     another asset's, of the same window               as well: all liquidations are one channel
//     gaps, closed ones and the one that is open        say it for windows that nobody published
//     no marks at all                                   nobody can say

/** A connection that was not heard for so long has a gap that is open; it is heard, or asked, once a second or so. */
export const SILENT_MS = 5_000;

const LIQUIDATIONS = "liquidations";
const NAMES = new Set(["liquidationOrders", "liquidation_orders"]); // both spellings of one channel
const TRADES = "futures_trades@";

/** A channel's identity, whichever way its name is spelled. */
export function channelOf(name) {
  if (NAMES.has(name)) return LIQUIDATIONS;
  const at = name.lastIndexOf("@");
  return `${name.slice(TRADES.length, at)}@${Number(name.slice(at + 1))}`;
}

/** The identity of a window's channel. */
export const channelOfWindow = (window) =>
  window.asset === undefined ? `${window.exchange}_${window.symbol}@${window.min_vol_usd}` : LIQUIDATIONS;

export class Heard {
  constructor() {
    this.gaps = null; // closed: [{ from, to, channels: Set, why }]; null while they are not known
    this.channels = new Map(); // channel -> when it was last heard, of all that a connection is there for
    this.open = new Map(); // channel -> where its gap began, of those that are not heard now
    this.atMs = 0; // up to when all this holds what there was to know, by the worker's clock
    this.sinceMs = Infinity; // the earliest time of which anything is known
    this.liquidations = new Map(); // a window's start -> its coverage
  }

  takeGaps(gaps) {
    this.gaps = gaps?.map((gap) => ({ ...gap, channels: new Set(gap.channels.map(channelOf)) })) ?? null;
    for (const gap of gaps ?? []) this.since(gap.from);
  }

  takeHealth({ at_ms, feed, partitions }) {
    // Every partition is sent every mark: the freshest one knows. A worker that is behind does not make a gap.
    const stale = partitions.map((one) => one.stale_ms).filter((ms) => typeof ms === "number");
    this.atMs = at_ms - Math.min(...stale); // -Infinity where none of them knows
    this.channels.clear();
    this.open.clear();
    for (const one of feed) {
      for (const name of one.channels) {
        const channel = channelOf(name);
        this.channels.set(channel, Math.max(one.heard_at_ms, this.channels.get(channel) ?? 0));
      }
    }
    const up = new Set(feed.filter((one) => one.up).flatMap((one) => one.channels.map(channelOf)));
    const behind = at_ms - this.atMs > SILENT_MS;
    for (const [channel, heardMs] of this.channels) {
      const down = !behind && !up.has(channel);
      if (down || this.atMs - heardMs > SILENT_MS) this.open.set(channel, heardMs);
    }
  }

  takeWindow(window) {
    this.since(window.window_start);
    if (window.asset !== undefined && window.coverage !== null) {
      this.liquidations.set(window.window_start, window.coverage);
    }
  }

  /** Forget what is told of windows that began before. */
  forget(beforeMs) {
    for (const start of this.liquidations.keys()) if (start < beforeMs) this.liquidations.delete(start);
  }

  since(ms) {
    this.sinceMs = Math.min(this.sinceMs, ms);
  }

  /** The gaps that have not ended: [{ from, to: now, channels: Set }], those together that began together. */
  openGaps() {
    const gaps = new Map();
    for (const [channel, from] of this.open) {
      if (!gaps.has(from)) gaps.set(from, { from, to: this.atMs, channels: new Set() });
      gaps.get(from).channels.add(channel);
    }
    return [...gaps.values()];
  }

  /** The share of `[start, end)` in which a channel was heard, 0 to 1; null where nobody can say. */
  share(channel, start, end, window) {
    if (window?.final) return window.coverage;
    if (window === undefined && channel === LIQUIDATIONS && this.liquidations.has(start)) {
      return this.liquidations.get(start);
    }
    if (!this.channels.has(channel) || this.gaps === null || start < this.sinceMs) return null;
    const until = Math.min(end, this.atMs);
    if (until <= start) return null;
    return 1 - this.missedMs(channel, start, until) / (until - start);
  }

  missedMs(channel, start, end) {
    const gaps = this.gaps.filter((gap) => gap.channels.has(channel));
    if (this.open.has(channel)) gaps.push({ from: this.open.get(channel), to: this.atMs });
    gaps.sort((a, b) => a.from - b.from);
    let missed = 0;
    let reached = start;
    for (const { from, to } of gaps) {
      const begin = Math.max(from, reached);
      const stop = Math.min(to, end);
      if (stop > begin) {
        missed += stop - begin;
        reached = stop;
      }
    }
    return missed;
  }
}

/** What a window is, in a word: how the charts draw it and the tables call it. */
export function stateOf(window, heardShare, running) {
  if (window !== undefined && !window.final) return "running";
  if (heardShare === null) return window === undefined ? (running ? "running" : "unknown") : "final";
  if (heardShare <= 0 && window === undefined) return "unheard";
  if (heardShare < 1) return running ? "running" : "partly";
  if (running) return "running";
  return window === undefined ? "quiet" : "final";
}
