// Asks for what events don't tell: lists at first and after a break, gaps, and the history of what is looked at.

import { json, NotNow, Refused, TokenNeeded } from "./api.js";
import { windowsIn } from "./ranges.js";
import { knownFromMs, SPAN } from "./windows.js";

const RETRY_MS = 2_000;
/** With more markets than this, few windows of each are asked for, and only the chosen one's older ones. */
const MANY_MARKETS = 500;
const FEW_WINDOWS = 10;

export class Loader {
  /** changed(): what is known has grown; trouble(text): why not all of it could be had, empty once it could. */
  constructor(model, { changed, trouble }) {
    Object.assign(this, { model, changed, trouble });
    this.loads = 0; // the number of the newest load: an older one gives way
    this.older = Promise.resolve(); // ends with the last of the requests for older windows
  }

  get query() {
    return `window=${encodeURIComponent(this.model.size.name)}`;
  }

  /** Fetch what the events before did not say: all of it at first, and after a break what was missed. */
  async lists() {
    const mine = (this.loads += 1);
    this.model.renew();
    while (mine === this.loads) {
      try {
        const from = this.model.firstMs();
        const { ms } = this.model.size;
        const to = this.model.runningMs() + 2 * ms; // the next window may begin meanwhile
        const [liquidations, imbalance] = await Promise.all([
          windowsIn(`/liquidations/?${this.query}`, from, to, ms),
          json(`/imbalance/?${this.query}&windows=2`),
          this.gaps(),
        ]);
        if (mine !== this.loads) return;
        this.model.takeLists(liquidations, imbalance.windows, from);
        this.trouble("");
        return this.changed(); // if any of it was old, what is newer comes with the events
      } catch (error) {
        if (mine !== this.loads || error instanceof TokenNeeded) return; // whoever reads the events asks for it
        this.trouble(`Not all of it can be shown now: ${error.message}.`);
        if (error instanceof Refused) return; // the next connection, or another size, asks again
        await new Promise((resolve) => setTimeout(resolve, error instanceof NotNow ? error.retryMs : RETRY_MS));
      }
    }
  }

  /** Fetch the gaps that are over; where they cannot be read, nothing is drawn as if there were none. */
  async gaps() {
    const gaps = await json(`/gaps/?from=${this.model.firstMs()}`).then((answer) => answer.gaps, () => null);
    this.model.heard.takeGaps(gaps);
    this.changed();
  }

  /**
   * Fetch one market's windows for the charts: the newest first, and then all that began since the charts do. What the
   * tables do not hold costs the worker the reading of all markets' finals, so among very many it is asked for of the
   * chosen market alone.
   */
  async history(series, chosen) {
    try {
      const many = this.model.imbalance.series.size > MANY_MARKETS;
      await this.windowsOf(series, `windows=${many ? FEW_WINDOWS : SPAN}`);
      const from = this.model.firstMs();
      if (knownFromMs(series) <= from || (many && !chosen)) return;
      const before = this.older;
      this.older = before.then(() => this.windowsOf(series, `from=${from}`)).catch(() => {}); // one after the other
      await this.older;
    } catch {
      // What else is asked for at the same time says why, and the next connection begins again.
    }
  }

  async windowsOf(series, range) {
    const { exchange, symbol } = series.first;
    const path = `/imbalance/${encodeURIComponent(exchange)}/${encodeURIComponent(symbol)}/`;
    const { windows } = await json(`${path}?${this.query}&${range}`);
    this.model.takeWindows("imbalance", windows);
    if (range.startsWith("from=")) series.wholeFromMs = Number(range.slice(5));
    this.changed();
  }
}
