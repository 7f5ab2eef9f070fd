// Buys against sells: a heat strip of the top markets, a line of one, and the numbers.

import { Chart } from "./chart.js";
import { line, strip, STRIP_MARGIN, worthDrawing } from "./figures.js";
import { compactUsd, count, marketName, NOTHING, price, share, signedShare, usd, windowTime } from "./format.js";
import { Painter } from "./painter.js";
import { chooser, element, folded, HEIGHT, heardInWords, setText } from "./parts.js";
import { Ranking } from "./ranking.js";
import { Rows, ROWS_MAX } from "./rows.js";
import { sumFrom } from "./windows.js";

const STRIP_ROWS = 12;
const STRIP_ROWS_NARROW = 8;
const narrow = matchMedia("(max-width: 40rem)");

export class Imbalance {
  /** fetchHistory(series, chosen): asks for a market's windows, which come in through the model. */
  constructor(model, fetchHistory) {
    this.model = model;
    this.fetchHistory = fetchHistory;
    this.chosen = null; // a market's id: the first one on top, until another is chosen
    this.deep = undefined; // the market whose older windows were asked for
    this.filter = "";
    this.rows = []; // of the strip: each market's slots
    this.slots = []; // of the chosen market
    this.names = new WeakMap(); // series -> name, for as long as the series is there
    this.strip = new Chart(element("strip-chart"), {
      figure: (colours, width) => (this.rows.length === 0 ? null : strip(this.rows, colours, width)),
      slots: () => this.slots,
      describe: (slot) => this.describe(slot),
      readout: element("imbalance-readout"),
      everyMs: 400,
      margin: STRIP_MARGIN,
    });
    this.line = new Chart(element("line-chart"), {
      figure: (colours, width) => (worthDrawing(this.slots) ? line(this.slots, colours, width, HEIGHT * 0.7) : null),
      slots: () => this.slots,
      describe: (slot) => this.describe(slot),
      readout: element("imbalance-readout"),
      everyMs: 400,
    });
    this.painter = new Painter(() => this.paint());
    const again = () => this.painter.want();
    this.ranking = new Ranking(element("markets"), this.limit(), 5_000, again);
    this.allRanking = new Ranking(element("all-markets"), ROWS_MAX, 1_000, again);
    const begin = chooser("market", (id) => this.choose(id), () => this.chosen);
    this.markets = new Rows(element("markets-rows"), (series) => this.stripCells(series), begin);
    this.windows = new Rows(element("market-windows"), (slot) => this.windowCells(slot));
    this.all = new Rows(element("all-markets"), (series) => this.marketCells(series));
    element("market-filter").addEventListener("input", (event) => this.find(event.target.value));
    narrow.addEventListener("change", () => this.find(this.filter));
    for (const id of ["market-details", "markets-details"]) {
      element(id).addEventListener("toggle", () => this.painter.want());
    }
  }

  limit() {
    return narrow.matches ? STRIP_ROWS_NARROW : STRIP_ROWS;
  }

  find(text) {
    this.filter = folded(text);
    this.ranking.limit = this.limit();
    this.ranking.reset();
    this.allRanking.reset();
    this.painter.want();
  }

  choose(id) {
    this.chosen = id;
    this.painter.want();
  }

  name(series) {
    let name = this.names.get(series);
    if (name === undefined) this.names.set(series, (name = marketName(series.first)));
    return name;
  }

  paint() {
    const { model } = this;
    if (model.size === null) return;
    const all = model.imbalance.series;
    const from = model.runningMs() - model.size.ms;
    const volume = (series) => sumFrom(series, from, "buy_usd") + sumFrom(series, from, "sell_usd");
    const fits = (series) => this.filter === "" || folded(this.name(series)).includes(this.filter);
    const top = this.ranking.of(all, volume, fits);
    const chosen = all.get(this.chosen) ?? top[0];
    if (model.incoming === null) {
      this.chosen ??= chosen?.id ?? null;
      this.watch(top, chosen);
    }
    this.rows = top.map((series) => model.slotsOfMarket(series));
    this.slots = chosen === undefined ? [] : model.slotsOfMarket(chosen);
    this.markets.show(top, (series) => series.id);
    setText("markets-note", `${count(all.size)} markets, those with most volume in this window and the last on top`);
    this.paintChosen(chosen);
    this.paintTile(top[0], volume);
    for (const chart of [this.strip, this.line]) {
      chart.want();
      chart.point();
    }
    if (element("market-details").open) this.windows.show([...this.slots].reverse(), (slot) => slot.start);
    if (element("markets-details").open) this.paintAll(all, volume, fits);
  }

  /** Have the windows of what is shown, and above all of what was chosen. */
  watch(top, chosen) {
    const watched = new Set([...top, ...(chosen ? [chosen] : [])].map((series) => series.id));
    const begun = new Set(this.model.imbalance.watch(watched));
    if (chosen !== undefined && chosen !== this.deep) begun.add(chosen);
    this.deep = chosen;
    for (const series of begun) this.fetchHistory(series, series === chosen);
  }

  paintChosen(chosen) {
    setText(element("market-name").firstElementChild, chosen === undefined ? NOTHING : this.name(chosen));
    for (const button of element("markets-rows").querySelectorAll("input")) {
      const mine = this.markets.rows.get(chosen?.id)?.row.contains(button) ?? false;
      if (button.checked !== mine) button.checked = mine;
    }
  }

  paintTile(first, volume) {
    if (this.filter !== "") return;
    setText("tile-market", first ? this.name(first) : NOTHING);
    setText("tile-market-note", first ? `${compactUsd(volume(first))} in this window and the last` : NOTHING);
  }

  paintAll(all, volume, fits) {
    const shown = this.allRanking.of(all, volume, fits);
    this.all.show(shown, (series) => series.id);
    const orFind = shown.length < all.size ? "; the filter above reaches the others" : "";
    setText("all-markets-note", `${count(shown.length)} of ${count(all.size)} markets shown${orFind}`);
  }

  newestOf(series) {
    let newest;
    for (const window of series.windows.values()) {
      if (newest === undefined || window.window_start > newest.window_start) newest = window;
    }
    return newest;
  }

  stripCells(series) {
    const running = this.model.runningMs();
    const now = series.windows.get(running) ?? series.windows.get(running - this.model.size.ms);
    return [this.name(series), now === undefined ? NOTHING : signedShare(now.imbalance)];
  }

  marketCells(series) {
    const window = this.newestOf(series);
    return [
      this.name(series),
      windowTime(window.window_start, this.model.size.ms),
      usd(window.buy_usd),
      usd(window.sell_usd),
      signedShare(window.imbalance),
      price(window.close),
      share(window.coverage),
      window.final ? "final" : "running",
    ];
  }

  windowCells({ start, window, heard, state }) {
    const none = state === "quiet" ? "0" : NOTHING;
    const numbers = [none, none, NOTHING, ...PRICES.map(() => NOTHING)];
    if (window !== undefined) {
      numbers.splice(0, 3, usd(window.buy_usd), usd(window.sell_usd), signedShare(window.imbalance));
      numbers.splice(3, PRICES.length, ...PRICES.map((field) => price(window[field])));
    }
    return [windowTime(start, this.model.size.ms), ...numbers, share(heard), state];
  }

  describe({ start, window, heard, state }) {
    const when = `${windowTime(start, this.model.size.ms)} UTC`;
    if (window === undefined) return `${when}: ${WITHOUT[state]}`;
    const said = [
      signedShare(window.imbalance),
      `bought ${compactUsd(window.buy_usd)}`,
      `sold ${compactUsd(window.sell_usd)}`,
      `close ${price(window.close)}`,
      heardInWords(heard),
    ];
    return `${when}${state === "running" ? ", still running" : ""}: ${said.join(", ")}`;
  }
}

const PRICES = ["open", "high", "low", "close", "vwap"];

const WITHOUT = {
  quiet: "nothing was traded at this size",
  partly: "nothing was traded while it was heard, which was not all the time",
  unheard: "not heard; what was sent is missing",
  unknown: "no records, and nobody can say whether it was heard",
  running: "nothing yet, still running",
};
