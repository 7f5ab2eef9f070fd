// Liquidations: the bars of one asset or of all, the top assets, and the numbers in short.

import { Chart } from "./chart.js";
import { mirroredBars, worthDrawing } from "./figures.js";
import { compactUsd, count, duration, NOTHING, plain, share, usd, windowTime } from "./format.js";
import { ALL_ASSETS } from "./model.js";
import { Painter } from "./painter.js";
import { chooser, element, folded, HEIGHT, heardInWords, setText } from "./parts.js";
import { Ranking } from "./ranking.js";
import { Rows, ROWS_MAX } from "./rows.js";
import { SPAN } from "./windows.js";

export class Liquidations {
  constructor(model) {
    this.model = model;
    this.asset = ALL_ASSETS;
    this.filter = "";
    this.slots = [];
    this.chart = new Chart(element("liquidations-chart"), {
      figure: (colours, width) =>
        worthDrawing(this.slots) ? mirroredBars(this.slots, colours, width, HEIGHT) : null,
      slots: () => this.slots,
      describe: (slot) => this.describe(slot),
      readout: element("liquidations-readout"),
    });
    this.painter = new Painter(() => this.paint());
    this.ranking = new Ranking(element("assets"), ROWS_MAX, 1_000, () => this.painter.want());
    const choose = (id) => this.choose(id);
    this.assets = new Rows(element("assets-rows"), (one) => one.texts, chooser("asset", choose, () => this.asset));
    this.table = new Rows(element("liquidations-windows"), (slot) => this.cells(slot));
    element("asset-filter").addEventListener("input", (event) => {
      this.filter = folded(event.target.value);
      this.ranking.reset();
      this.painter.want();
    });
    element("liquidations-details").addEventListener("toggle", () => this.painter.want());
  }

  choose(id) {
    this.asset = id;
    this.painter.want();
  }

  paint() {
    const { model } = this;
    if (model.size === null) return;
    this.slots = model.slotsOfAsset(this.asset);
    setText("asset-name", this.asset === ALL_ASSETS ? "all assets" : plain(this.asset));
    this.chart.want();
    this.chart.point();
    this.paintAssets();
    if (element("liquidations-details").open) this.table.show([...this.slots].reverse(), (slot) => slot.start);
  }

  paintAssets() {
    const from = this.model.firstMs();
    const series = this.model.liquidations.series;
    const sums = new Map();
    const all = { id: ALL_ASSETS, name: "All assets", long: 0, short: 0, largest: 0, at: 0 };
    for (const one of series.values()) {
      const sum = sumsOf(one, from);
      all.long += sum.long;
      all.short += sum.short;
      if (sum.largest > all.largest) Object.assign(all, { largest: sum.largest, at: sum.at, by: sum.name });
      if (sum.count > 0) sums.set(one.id, sum);
    }
    const fits = (one) => folded(one.name).includes(this.filter);
    const top = this.ranking.of(sums, (one) => one.long + one.short, fits);
    for (const one of top) one.texts = [one.name, ...[one.long, one.short, one.largest].map(compactUsd)];
    const known = this.model.shown.liquidationsFromMs < Infinity; // until then nothing is not zero
    all.texts = [all.name, ...[all.long, all.short, all.largest].map((sum) => (known ? compactUsd(sum) : NOTHING))];
    this.assets.show([all, ...top], (one) => one.id);
    const span = duration(SPAN * this.model.size.ms);
    const more = this.filter === "" ? sums.size - top.length : 0;
    const orFind = more > 0 ? `; ${count(more)} more: type to find one` : "";
    setText("assets-note", `${known ? count(sums.size) : NOTHING} assets, last ${span}${orFind}`);
    this.paintTiles(all, top[0], span);
  }

  paintTiles(all, first, span) {
    const [, long, short, largest] = all.texts;
    setText("tile-long", long);
    setText("tile-short", short);
    for (const note of document.querySelectorAll("[data-span]")) setText(note, `last ${span}`);
    if (this.filter === "") {
      setText("tile-asset", first?.name ?? NOTHING);
      setText("tile-asset-note", first ? `${compactUsd(first.long + first.short)} liquidated` : NOTHING);
    }
    const any = all.largest > 0;
    setText("tile-largest", any ? largest : NOTHING);
    setText("tile-largest-note", any ? `${all.by}, ${windowTime(all.at, this.model.size.ms)} UTC` : NOTHING);
  }

  describe({ start, window, heard, state }) {
    const when = `${windowTime(start, this.model.size.ms)} UTC`;
    if (window === undefined) return `${when}: ${WITHOUT[state]}`;
    const said = [
      `longs ${compactUsd(window.long_usd)}`,
      `shorts ${compactUsd(window.short_usd)}`,
      `largest ${compactUsd(window.largest_usd)}`,
      `${count(window.long_count + window.short_count)} orders`,
      heardInWords(heard),
    ];
    return `${when}${state === "running" ? ", still running" : ""}: ${said.join(", ")}`;
  }

  cells({ start, window, heard, state }) {
    const none = state === "quiet" ? "0" : NOTHING;
    const numbers = [none, none, none, none];
    if (window !== undefined) {
      numbers.splice(0, 3, usd(window.long_usd), usd(window.short_usd), usd(window.largest_usd));
      numbers[3] = count(window.long_count + window.short_count);
    }
    return [windowTime(start, this.model.size.ms), ...numbers, share(heard), state];
  }
}

const WITHOUT = {
  quiet: "nothing was liquidated",
  partly: "nothing was liquidated while it was heard, which was not all the time",
  unheard: "not heard; what was sent is missing",
  unknown: "no records, and nobody can say whether it was heard",
  running: "nothing yet, still running",
};

/** What the windows of an asset that begin at `from` or later come to. */
function sumsOf(series, from) {
  const sum = { id: series.id, name: plain(series.id), long: 0, short: 0, count: 0, largest: 0, at: 0 };
  for (const window of series.windows.values()) {
    if (window.window_start < from) continue;
    sum.long += window.long_usd;
    sum.short += window.short_usd;
    sum.count += window.long_count + window.short_count;
    if (window.largest_usd > sum.largest) Object.assign(sum, { largest: window.largest_usd, at: window.window_start });
  }
  return sum;
}
