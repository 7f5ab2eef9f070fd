// The windows that the page knows, as the worker tells of them. Pure.

/** Windows of one size that a chart shows, the running one included. */
export const SPAN = 60;

const KINDS = {
  liquidations: { id: (w) => w.asset, records: (w) => w.long_count + w.short_count },
  imbalance: {
    id: (w) => JSON.stringify([w.exchange, w.symbol, w.min_vol_usd]),
    records: (w) => w.buy_count + w.sell_count,
  },
};

/**
 * The windows of all assets, or of all markets, of one size.
 *
 * A window only grows: of two states of it the one with the higher revision is newer, then the final one, then the one
 * with more records. So answers and events may come in any order, and twice.
 */
export class Windows {
  constructor(kind, kept) {
    this.kind = KINDS[kind];
    this.kept = kept; // newest windows kept of a series that nobody watches
    // id -> { id, first: any of its windows, windows: Map(start -> window), watched,
    //         wholeFromMs: from when on all of them were asked for, or null }
    this.series = new Map();
  }

  /** Take a window's state; returns whether it is news, and not known or superseded. */
  take(window) {
    const id = this.kind.id(window);
    let series = this.series.get(id);
    if (series === undefined) {
      series = { id, first: window, windows: new Map(), watched: false, wholeFromMs: null };
      this.series.set(id, series);
    }
    const before = series.windows.get(window.window_start);
    if (before !== undefined && !this.newer(window, before)) return false;
    series.windows.set(window.window_start, window);
    if (before === undefined) this.trim(series);
    return true;
  }

  newer(one, other) {
    if (one.revision !== other.revision) return one.revision > other.revision;
    if (one.final !== other.final) return one.final;
    return this.kind.records(one) > this.kind.records(other);
  }

  /** Keep a chart's span of these series, and little of all others; returns those that were not watched before. */
  watch(ids) {
    const begun = [];
    for (const series of this.series.values()) {
      const watched = ids.has(series.id);
      if (watched && !series.watched) begun.push(series);
      if (watched !== series.watched) {
        series.watched = watched;
        series.wholeFromMs = null;
        this.trim(series);
      }
    }
    return begun;
  }

  trim(series) {
    const kept = series.watched ? SPAN : this.kept;
    if (series.windows.size <= kept) return;
    const starts = [...series.windows.keys()].sort((a, b) => a - b);
    for (const start of starts.slice(0, -kept)) series.windows.delete(start);
  }
}

/**
 * From when on nothing of a series is missing: lists and events tell of the newest windows, so that there is no other
 * between them, but there may be older ones that nobody asked for.
 */
export const knownFromMs = (series) => Math.min(series.wholeFromMs ?? Infinity, ...series.windows.keys());

/** The sum of a field over the windows of a series that begin at `fromMs` or later. */
export function sumFrom(series, fromMs, field) {
  let sum = 0;
  for (const window of series.windows.values()) if (window.window_start >= fromMs) sum += window[field];
  return sum;
}

/** The `limit` highest of many, by `rank`, without sorting all of them. */
export function highest(items, limit, rank) {
  const top = [];
  for (const item of items) {
    const value = rank(item);
    if (top.length === limit && value <= top[limit - 1].value) continue;
    let place = top.length;
    while (place > 0 && top[place - 1].value < value) place -= 1;
    top.splice(place, 0, { item, value });
    if (top.length > limit) top.pop();
  }
  return top.map((one) => one.item);
}

const SUMMED = ["long_usd", "short_usd", "total_usd", "long_count", "short_count"];

/** A window of all assets together, from theirs of one start; null where there is none. */
export function together(allSeries, start) {
  let sum = null;
  for (const { windows } of allSeries) {
    const window = windows.get(start);
    if (window === undefined) continue;
    if (sum === null) {
      sum = { ...window };
      continue;
    }
    for (const field of SUMMED) sum[field] += window[field];
    sum.largest_usd = Math.max(sum.largest_usd, window.largest_usd);
    sum.final &&= window.final;
    sum.coverage = sum.final ? window.coverage : null; // of one channel: the same in all of them
  }
  return sum;
}
