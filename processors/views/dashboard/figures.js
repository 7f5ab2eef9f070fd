// Charts as plotly takes them: { data, layout }. Pure. No text from outside goes in here, numbers only: plotly would
// read markup in it.

import { tickFormat } from "./format.js";

/** Pixels left and right of a plot, where a chart's axis and its cursor find room. */
export const MARGIN = { left: 56, right: 10 };
export const STRIP_MARGIN = { left: 2, right: 10 };
/** Pixels of one row of the heat strip: the same in the style sheet, for the names beside it. */
export const ROW = 26;

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** Whether there is anything to draw: a window, or a time of which something is known. */
export const worthDrawing = (slots) =>
  slots.some((slot) => slot.window !== undefined || slot.state === "quiet" || slot.state === "unheard");

/** Liquidated longs upwards, shorts downwards. */
export function mirroredBars(slots, colours, width, height) {
  const starts = slots.map((slot) => slot.start);
  const size = slots[0].end - slots[0].start;
  const side = (field, sign, colour) => ({
    type: "bar",
    x: starts,
    y: slots.map((slot) => (slot.window === undefined ? null : sign * slot.window[field])),
    width: size * 0.8,
    offset: size * 0.1,
    marker: {
      color: slots.map((slot) => (slot.state === "running" ? faded(colour, colours.surface) : colour)),
      line: { color: colour, width: slots.map((slot) => (slot.state === "running" ? 1.5 : 0)) },
    },
  });
  const quiet = slots.filter((slot) => slot.state === "quiet");
  const zeros = {
    type: "scatter",
    mode: "markers",
    x: quiet.map((slot) => slot.start + size / 2),
    y: quiet.map(() => 0),
    marker: { color: colours.muted, size: 4, symbol: "diamond" },
  };
  const most = Math.max(0, ...slots.map(({ window }) => (window ? Math.max(window.long_usd, window.short_usd) : 0)));
  const { end, ticks } = scale(most);
  const layout = base(slots, colours, width, height);
  Object.assign(layout.yaxis, {
    range: [-end, end],
    tickvals: ticks,
    ticktext: ticks.map((value) => compact.format(Math.abs(value))),
    zeroline: true,
  });
  return {
    data: [...bands(slots, colours), side("long_usd", 1, colours.long), side("short_usd", -1, colours.short), zeros],
    layout: { ...layout, annotations: labels(slots, colours) },
  };
}

/** One market's imbalance as a line that breaks where nothing was heard. */
export function line(slots, colours, width, height) {
  const size = slots[0].end - slots[0].start;
  const shown = slots.map(imbalanceOf);
  const points = {
    type: "scatter",
    mode: "lines+markers",
    x: slots.map((slot) => slot.start + size / 2),
    y: shown,
    connectgaps: false,
    line: { color: colours.text, width: 1.5 },
    marker: {
      size: slots.map((slot) => (slot.state === "running" ? 9 : 6)),
      color: shown.map((value, at) =>
        value === null || slots[at].state === "running" ? colours.surface : mixed(value, colours),
      ),
      line: { width: 1.5, color: shown.map((value) => (value === null ? colours.muted : mixed(value, colours))) },
    },
  };
  const layout = base(slots, colours, width, height);
  const ticks = [-1, -0.5, 0, 0.5, 1];
  Object.assign(layout.yaxis, {
    range: [-1.12, 1.12],
    tickvals: ticks,
    ticktext: ticks.map((value) => `${value > 0 ? "+" : ""}${value * 100}%`),
    zeroline: true,
  });
  return { data: [...bands(slots, colours), points], layout: { ...layout, annotations: labels(slots, colours) } };
}

/** Markets' imbalance, a row each. Bars, as plotly's heat map needs styles and images that our policy forbids. */
export function strip(rows, colours, width) {
  const cells = rows.flatMap((slots, row) => slots.map((slot) => ({ ...slot, row })));
  const bars = (some, marker) => ({
    type: "bar",
    orientation: "h",
    base: some.map((cell) => cell.start),
    x: some.map((cell) => cell.end - cell.start),
    y: some.map((cell) => cell.row),
    width: 0.86,
    marker: { line: { width: 1, color: colours.surface }, ...marker },
  });
  const filled = cells.filter((cell) => imbalanceOf(cell) !== null);
  const data = [bars(filled, { color: filled.map((cell) => mixed(imbalanceOf(cell), colours)) })];
  for (const shape of HATCHES) {
    data.push(bars(cells.filter((cell) => hatchOf(cell) === shape), hatched(shape, colours)));
  }
  const layout = base(rows[0], colours, width, rows.length * ROW + AXIS_HEIGHT);
  layout.margin = { l: STRIP_MARGIN.left, r: STRIP_MARGIN.right, t: 0, b: AXIS_HEIGHT };
  Object.assign(layout.yaxis, { range: [rows.length - 0.5, -0.5], visible: false });
  layout.xaxis.showgrid = false;
  return { data, layout };
}

/** -1 (all sold) over 0 to 1 (all bought) as a colour. */
export function mixed(imbalance, colours) {
  const to = imbalance < 0 ? colours.short : colours.long;
  return mix(colours.even, to, Math.min(1, Math.abs(imbalance)) ** 0.7);
}

const AXIS_HEIGHT = 26;

function base(slots, colours, width, height) {
  return {
    width,
    height,
    margin: { l: MARGIN.left, r: MARGIN.right, t: 6, b: AXIS_HEIGHT },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colours.muted },
    showlegend: false,
    barmode: "overlay",
    xaxis: {
      type: "date",
      range: [slots[0].start, slots.at(-1).end],
      gridcolor: colours.grid,
      nticks: Math.max(2, Math.floor(width / 110)),
      tickformat: tickFormat(slots[0].end - slots[0].start),
      fixedrange: true,
    },
    yaxis: { gridcolor: colours.grid, zerolinecolor: colours.muted, zerolinewidth: 1, fixedrange: true },
    yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
  };
}

/** What was not heard, hatched from top to bottom. */
function bands(slots, colours) {
  return HATCHES.map((shape) => {
    const missed = slots.filter((slot) => hatchOf(slot) === shape);
    return {
      type: "bar",
      yaxis: "y2",
      x: missed.map((slot) => slot.start),
      y: missed.map(() => 1),
      width: slots[0].end - slots[0].start,
      offset: 0,
      marker: hatched(shape, colours),
    };
  });
}

/** "not heard" over each stretch of the chart that is wide enough to bear it. */
function labels(slots, colours) {
  const stretches = [];
  slots.forEach((slot, at) => {
    if (slot.state !== "unheard") return;
    const last = stretches.at(-1);
    if (last?.to === at - 1) last.to = at;
    else stretches.push({ from: at, to: at });
  });
  return stretches
    .filter(({ from, to }) => to - from >= 3)
    .map(({ from, to }) => ({
      text: "not heard",
      x: (slots[from].start + slots[to].end) / 2,
      y: 1,
      yref: "paper",
      yanchor: "top",
      showarrow: false,
      bgcolor: colours.surface,
      font: { color: colours.text, size: 11 },
    }));
}

/** Lines where nothing was heard, dots where only a part was. */
const HATCHES = ["/", "."];

const hatchOf = (slot) => {
  if (slot.state === "unheard") return "/";
  return slot.heard !== null && slot.heard < 1 ? "." : "";
};

const hatched = (shape, colours) => ({
  color: "rgba(0,0,0,0)",
  line: { width: 0 },
  pattern: {
    shape,
    size: shape === "/" ? 7 : 5,
    solidity: shape === "/" ? 0.28 : 0.2,
    fillmode: "overlay",
    fgcolor: colours.hatch,
    fgopacity: 1,
  },
});

/** A slot's imbalance: 0 where nothing was traded, null where nobody can say. */
const imbalanceOf = (slot) => {
  if (slot.window !== undefined) return slot.window.imbalance;
  return slot.state === "quiet" ? 0 : null;
};

/** Round ticks around 0 that reach `most`: { end, ticks }. */
export function scale(most) {
  if (!(most > 0)) return { end: 1, ticks: [0] };
  const rough = most / 2;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= rough) ?? rough;
  return { end: most * 1.1, ticks: [-2, -1, 0, 1, 2].map((times) => times * step) };
}

const faded = (colour, surface) => mix(colour, surface, 0.55);

/** A colour between two `#rrggbb`. */
function mix(from, to, share) {
  const channel = (at) => {
    const [a, b] = [from, to].map((colour) => Number.parseInt(colour.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * share);
  };
  return `rgb(${channel(1)},${channel(3)},${channel(5)})`;
}
