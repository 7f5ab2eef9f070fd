// A chart on the page: drawn by plotly when something it shows has changed, with a cursor for mouse and keyboard.

import { MARGIN } from "./figures.js";
import { Painter } from "./painter.js";

const COLOURS = ["long", "short", "even", "text", "muted", "grid", "surface", "hatch"];
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Plotly, once it is there. Its script is large: it is asked for when the first numbers are on the page. */
let loading = null;
const plotly = () => (loading ??= import("./plotly.min.js").then(() => window.Plotly));

/** One cursor for all charts: where the window under it begins, UTC ms; null while it follows the running one. */
class Cursor extends EventTarget {
  at = null;

  move(at) {
    this.at = at;
    this.dispatchEvent(new Event("move"));
  }
}
const cursor = new Cursor();

/** Where the cursor is among slots: on the oldest where it was left behind. */
const placeOf = ({ at }, slots) =>
  at === null ? slots.length - 1 : Math.max(0, slots.findIndex((slot) => slot.start === at));

export class Chart {
  /**
   * root      an element of class `chart`
   * figure    (colours, width) -> { data, layout }, or null while there is nothing to draw
   * slots     () -> the slots that the chart shows
   * describe  (slot) -> what the numbers at the cursor are, in words
   * readout   an element for these words
   * everyMs   how often it is drawn at most
   */
  constructor(root, { figure, slots, describe, readout, margin = MARGIN, everyMs = 100 }) {
    Object.assign(this, { root, figure, slots, describe, readout, margin });
    this.plot = root.querySelector(".plot");
    this.mark = root.querySelector(".cursor");
    this.seen = false;
    this.painter = new Painter(() => this.draw(), everyMs);
    const near = { rootMargin: "50%" }; // what is about to be scrolled into view is drawn already
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      this.want();
    }, near).observe(root);
    new ResizeObserver(() => this.want()).observe(root);
    dark.addEventListener("change", () => this.want());
    cursor.addEventListener("move", () => this.point());
    root.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["pointerdown", "pointermove"]) root.addEventListener(name, (event) => this.hover(event));
    root.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") cursor.move(null); // a finger is gone as soon as it has pointed
    });
  }

  /** Draw before long; at once if nothing was drawn for a while. */
  want() {
    if (this.seen) this.painter.want();
  }

  draw() {
    this.point();
    if (this.library === undefined) return this.load();
    const width = this.root.clientWidth;
    const style = getComputedStyle(this.root);
    const colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    const figure = this.figure(colours, width);
    this.root.classList.toggle("empty", figure === null);
    const wanted = JSON.stringify(figure); // a small part of what drawing the same again would cost
    if (figure === null || wanted === this.drawn) return;
    this.drawn = wanted;
    this.library.react(this.plot, figure.data, figure.layout, { staticPlot: true });
    this.root.dataset.drawn = String(Number(this.root.dataset.drawn ?? 0) + 1);
  }

  async load() {
    try {
      this.library = await plotly();
      this.want();
    } catch {
      this.plot.textContent = "The charts' script could not be loaded; the numbers are in the tables.";
    }
  }

  /** Put the cursor where it is, and its numbers into words. */
  point() {
    const slots = this.slots();
    if (slots.length === 0) return;
    const at = placeOf(cursor, slots);
    const inner = this.innerWidth();
    this.mark.style.left = `${this.margin.left + (inner * at) / slots.length}px`;
    this.mark.style.width = `${inner / slots.length}px`;
    const words = this.describe(slots[at]);
    const attributes = { "aria-valuemax": slots.length - 1, "aria-valuenow": at, "aria-valuetext": words };
    for (const [name, value] of Object.entries(attributes)) this.root.setAttribute(name, value);
    this.readout.textContent = words;
  }

  key(event) {
    const slots = this.slots();
    if (slots.length === 0 || event.target !== this.root) return;
    const at = placeOf(cursor, slots);
    const last = slots.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: last };
    if (event.key === "Escape") return cursor.move(null);
    if (!(event.key in to)) return;
    event.preventDefault();
    const place = Math.min(last, Math.max(0, to[event.key]));
    cursor.move(place === last ? null : slots[place].start);
  }

  hover(event) {
    const slots = this.slots();
    const across = event.clientX - this.root.getBoundingClientRect().left - this.margin.left;
    const at = Math.floor((across / this.innerWidth()) * slots.length);
    cursor.move(slots[at]?.start ?? null);
  }

  /** Pixels between the plot's margins. */
  innerWidth() {
    return this.root.clientWidth - this.margin.left - this.margin.right;
  }
}
