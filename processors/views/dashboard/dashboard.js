// The page: what the worker tells goes into the model, and what changed there is painted.

import { json, keepToken, NotNow, TokenNeeded } from "./api.js";
import { duration, plain, second } from "./format.js";
import { fresh, Health } from "./health.js";
import { Imbalance } from "./imbalance.js";
import { Liquidations } from "./liquidations.js";
import { follow } from "./live.js";
import { Model } from "./model.js";
import { element, setText } from "./parts.js";
import { SPAN } from "./windows.js";

const RETRY_MS = 2_000;

const model = new Model();
const liquidations = new Liquidations(model);
const imbalance = new Imbalance(model, (series) => loadHistory(series));
const health = new Health(model);
const panels = [liquidations, imbalance, health];

let connected = false;
let since = null; // the worker's time as the connection was lost; null while live
let loads = 0; // the number of the newest load: an older one gives way

follow({ state: showState, event: take, token: newToken });
setInterval(tick, 1_000);

function take(name, data) {
  if (name === "hello") {
    model.takeClock(data.at_ms);
    offerSizes(data.windows);
    load();
  } else if (name === "windows" && model.size !== null) {
    if (model.takeWindows("liquidations", data.liquidations).size > 0) liquidations.painter.want();
    if (model.takeWindows("imbalance", data.imbalance).size > 0) imbalance.painter.want();
  } else if (name === "health") {
    model.takeHealth(data);
    health.painter.want();
    showLag(data.partitions);
    lookForGaps();
  } else if (name === "reset") {
    load(); // we read too slowly, and were left out
  }
}

/** Fetch what the events before did not say: all of it at first, and after a break what was missed. */
async function load() {
  const mine = (loads += 1);
  const { name } = model.size;
  const query = `window=${encodeURIComponent(name)}`;
  for (;;) {
    try {
      const answers = await Promise.all([
        json(`/liquidations/?${query}&windows=${SPAN}`),
        json(`/imbalance/?${query}&windows=2`),
        loadGaps(),
      ]);
      if (mine !== loads) return;
      model.takeWindows("liquidations", answers[0].windows);
      model.takeWindows("imbalance", answers[1].windows);
      for (const series of model.imbalance.series.values()) if (series.watched) loadHistory(series);
      showBanner("");
      element("main").ariaBusy = "false";
      for (const panel of panels) panel.painter.want();
      return; // if any of it was old, what is newer comes with the events
    } catch (error) {
      if (mine !== loads || error instanceof TokenNeeded) return; // the stream's loop asks for the token
      showBanner(`Not all of it can be shown now: ${error.message}.`);
      await pause(error instanceof NotNow ? error.retryMs : RETRY_MS);
    }
    if (mine !== loads) return;
  }
}

/** Fetch the gaps that are over; where they cannot be read, nothing is drawn as if there were none. */
async function loadGaps() {
  const gaps = await json(`/gaps/?from=${model.firstMs()}`).then((answer) => answer.gaps, () => null);
  model.heard.takeGaps(gaps);
  for (const panel of panels) panel.painter.want();
}

/** A gap that was open and is not any more is over, and stands among the closed ones from now on. */
let gapWasOpen = false;
function lookForGaps() {
  const open = model.heard.open.size > 0;
  if (gapWasOpen && !open) loadGaps();
  if (gapWasOpen || open) for (const panel of panels) panel.painter.want();
  gapWasOpen = open;
}

/** Say so where some of it is old: a worker is gone, or catching up. */
function showLag(partitions) {
  const behind = partitions.filter((one) => !fresh(one));
  const oldest = Math.max(...behind.map((one) => one.stale_ms ?? 0));
  const names = behind.slice(0, 3).map((one) => `${plain(one.topic)} ${one.partition}`).join(", ");
  const more = behind.length > 3 ? ` and ${behind.length - 3} more` : "";
  const age = oldest > 0 ? `what you see of them is ${duration(oldest)} old` : "they are being recovered";
  setText("lag", behind.length === 0 ? "" : `Behind: partitions ${names}${more}; ${age}.`);
  element("lag").hidden = behind.length === 0;
}

/** Fetch one market's windows for the charts. */
async function loadHistory({ first }) {
  const market = `${encodeURIComponent(first.exchange)}/${encodeURIComponent(first.symbol)}`;
  try {
    const query = `window=${encodeURIComponent(model.size.name)}&windows=${SPAN}`;
    const { windows } = await json(`/imbalance/${market}/?${query}`);
    if (model.takeWindows("imbalance", windows).size > 0) imbalance.painter.want();
  } catch {
    // What was asked for together with it says so; the next connection fetches it again.
  }
}

function offerSizes(sizes) {
  const select = element("size");
  if (sizes.join(" ") === model.sizes.join(" ")) return;
  model.sizes = sizes;
  select.replaceChildren(...sizes.map((size) => new Option(size, size)));
  element("size-label").hidden = sizes.length < 2;
  if (!sizes.includes(model.size?.name)) model.useSize(sizes[0]);
  select.value = model.size.name;
}

element("size").addEventListener("change", (event) => {
  model.useSize(event.target.value);
  for (const panel of panels) panel.painter.want();
  load();
});

function showState(kind, detail) {
  const live = kind === "live";
  if (connected && !live) since = model.nowMs();
  if (live) since = null;
  connected = live;
  element("state").dataset.state = kind;
  element("token-form").hidden = kind !== "token";
  element("main").classList.toggle("stale", !live);
  if (kind === "token") setText("token-said", detail);
  setText("state-text", inWords(kind, detail));
}

function inWords(kind, detail) {
  const shown = since === null ? "" : `; what you see is from ${second(since)} UTC`;
  if (kind === "live") return "live";
  if (kind === "token") return "a token is needed";
  if (kind === "connecting") return `connecting…${shown}`;
  return `not connected, trying again in ${duration(detail.retryMs)}${shown} (${detail.message})`;
}

function showBanner(text) {
  setText("banner", text);
  element("banner").hidden = text === "";
}

function newToken() {
  element("token").focus();
  return new Promise((resolve) => {
    element("token-form").addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        keepToken(element("token").value.trim());
        element("token").value = "";
        resolve();
      },
      { once: true },
    );
  });
}

/** Once a second: the clock, and a new window where time alone has begun one. */
let running = null;
function tick() {
  if (model.size === null) return;
  element("clock").firstElementChild.textContent = second(model.nowMs());
  const begun = running !== null && running !== model.runningMs();
  running = model.runningMs();
  if (begun && connected) loadGaps();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
