// Numbers, times and names as people read them. Pure.

import { SPAN } from "./windows.js";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const shares = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const signedShares = new Intl.NumberFormat("en", {
  style: "percent",
  maximumFractionDigits: 0,
  signDisplay: "exceptZero",
});
const prices = new Intl.NumberFormat("en", { maximumSignificantDigits: 8 });
const fewDigits = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** What stands where nothing can be said. */
export const NOTHING = "–";

// Past this a number would fill the page with digits.
const DIGITS_END = 1e15;

export const usd = (value) => (Math.abs(value) < DIGITS_END ? whole.format(value) : value.toExponential(2));
export const compactUsd = (value) =>
  `$${Math.abs(value) < DIGITS_END ? compact.format(value) : value.toExponential(1)}`;
export const count = (value) => whole.format(value);
export const price = (value) =>
  value >= 1e-6 && value < DIGITS_END ? prices.format(value) : value.toExponential(4);
/** A share of 0 to 1; what is not all of it is never rounded to 100%. */
export const share = (value) => (value === null ? NOTHING : shares.format(value < 1 ? Math.min(value, 0.999) : value));
export const signedShare = (value) => signedShares.format(value);

const DAY_MS = 86_400_000;

/** `2026-11-25` of UTC ms. */
const day = (ms) => new Date(ms).toISOString().slice(0, 10);
/** `12:03:59` of UTC ms. */
export const second = (ms) => new Date(ms).toISOString().slice(11, 19);
/** `12:03:59` of UTC ms, with the date where that is not today's. */
export const moment = (ms, nowMs) => (day(ms) === day(nowMs) ? second(ms) : `${day(ms)} ${second(ms)}`);

/** How times of windows of a size are told from each other: over more than a day they need the date. */
const dated = (sizeMs) => SPAN * sizeMs > DAY_MS;
const clockOf = (sizeMs) => {
  if (sizeMs % DAY_MS === 0) return { end: 0, ticks: "" };
  if (sizeMs % 60_000 === 0) return { end: 16, ticks: "%H:%M" };
  if (sizeMs % 1_000 === 0) return { end: 19, ticks: "%H:%M:%S" };
  return { end: 23, ticks: "%H:%M:%S.%L" };
};

/** Where a window begins: as much of the date and of the clock as tells it from others of its size. */
export function windowTime(ms, sizeMs) {
  const clock = new Date(ms).toISOString().slice(11, clockOf(sizeMs).end);
  return (dated(sizeMs) ? `${day(ms)} ${clock}` : clock).trim();
}

/** The same for plotly's ticks; in one line, for which there is room. */
export function tickFormat(sizeMs) {
  const clock = clockOf(sizeMs).ticks;
  if (clock === "") return "%Y-%m-%d";
  return dated(sizeMs) ? `%b %d, ${clock}` : clock;
}

/** A length of time: `0.4 s`, `12 s`, `3 min`, `2.5 h`. */
export function duration(ms) {
  if (ms < 0) return "0 s";
  if (ms < 10_000) return `${fewDigits.format(ms / 1_000)} s`;
  if (ms < 120_000) return `${whole.format(ms / 1_000)} s`;
  if (ms < 7_200_000) return `${whole.format(ms / 60_000)} min`;
  return `${fewDigits.format(ms / 3_600_000)} h`;
}

/**
 * A name from outside, with nothing in it that hides or turns text: control, format and private characters, unpaired
 * surrogates and line ends are spelled out, so that a right-to-left override is seen and not obeyed.
 */
export const plain = (name) => String(name).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, spelledOut);

const spelledOut = (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

export const marketName = ({ exchange, symbol, min_vol_usd }) =>
  `${plain(exchange)} ${plain(symbol)}${min_vol_usd > 0 ? ` ≥ ${compactUsd(min_vol_usd)}` : ""}`;
