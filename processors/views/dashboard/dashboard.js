// The page: what the worker tells goes into the model, and what changed there is painted.

import { json, keepToken, NotNow, TokenNeeded } from "./api.js";
import { duration, second } from "./format.js";
import { Health } from "./health.js";
import { Imbalance } from "./imbalance.js";
import { Liquidations } from "./liquidations.js";
import { follow } from "./live.js";
import { Model } from "./model.js";
import { element, setText } from "./parts.js";

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
  }
}

/** Fetch what the events before did not say: all of it at first, and after a break what was missed. */
async function load() {
  const mine = (loads += 1);
  const { name } = model.size;
  const query = `window=${encodeURIComponent(name)}`;
  const from = model.firstMs();
  for (;;) {
    try {
      const answers = await Promise.all([
        json(`/liquidations/?${query}&from=${from}`),
        json(`/imbalance/?${query}&windows=2`),
        json(`/gaps/?from=${from}`),
      ]);
      if (mine !== loads) return;
      model.takeWindows("liquidations", answers[0].windows);
      model.takeWindows("imbalance", answers[1].windows);
      model.heard.takeGaps(answers[2].gaps);
      for (const series of model.imbalance.series.values()) if (series.watched) loadHistory(series);
      const staleMs = Math.max(...answers.map((answer) => answer.stale_ms ?? 0));
      showBanner(staleMs > 0 ? `Partitions are moving between workers: some of this is ${duration(staleMs)} old.` : "");
      element("main").ariaBusy = "false";
      for (const panel of panels) panel.painter.want();
      if (staleMs === 0) return;
      await pause(RETRY_MS);
    } catch (error) {
      if (mine !== loads || error instanceof TokenNeeded) return; // the stream's loop asks for the token
      showBanner(`Not all of it can be shown now: ${error.message}.`);
      await pause(error instanceof NotNow ? error.retryMs : RETRY_MS);
    }
    if (mine !== loads) return;
  }
}

/** Fetch one market's windows for the charts. */
async function loadHistory({ first }) {
  const market = `${encodeURIComponent(first.exchange)}/${encodeURIComponent(first.symbol)}`;
  try {
    const { windows } = await json(`/imbalance/${market}/?window=${encodeURIComponent(model.size.name)}&from=${model.firstMs()}`);
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
  const shown = since === null ? "" : `; what you see is from ${second(since)} UTC`;
  if (kind === "waiting") setText("state-text", `not connected, trying again in ${duration(detail.retryMs)}${shown} (${detail.message})`);
  else if (kind === "token") setText("token-said", detail);
  else setText("state-text", live ? "live" : `connecting…${shown}`);
  if (kind === "token") setText("state-text", "a token is needed");
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
  const before = running;
  running = model.runningMs();
  if (before !== running && connected) for (const panel of panels) panel.painter.want();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
