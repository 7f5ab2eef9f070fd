// The page: what the worker tells goes into the model, and what changed there is painted.

import { second } from "./format.js";
import { Health } from "./health.js";
import { Imbalance } from "./imbalance.js";
import { Liquidations } from "./liquidations.js";
import { follow } from "./live.js";
import { Loader } from "./loader.js";
import { Model } from "./model.js";
import { element } from "./parts.js";
import { Status } from "./status.js";

const model = new Model();
const status = new Status(model);
const loader = new Loader(model, { changed: paintAll, trouble: (text) => status.trouble(text) });
const liquidations = new Liquidations(model);
const imbalance = new Imbalance(model, (series, chosen) => loader.history(series, chosen));
const health = new Health(model);

follow({ state: (kind, detail) => status.show(kind, detail), token: () => status.token(), event: take });
setInterval(tick, 1_000);

function take(name, data) {
  if (name === "hello") {
    model.takeClock(data.at_ms);
    offerSizes(data.windows);
    loader.lists();
  } else if (name === "reset") {
    loader.lists(); // we read too slowly, and were left out
  } else if (name === "windows") {
    if (model.takeWindows("liquidations", data.liquidations)) liquidations.painter.want();
    if (model.takeWindows("imbalance", data.imbalance)) imbalance.painter.want();
  } else if (name === "health") {
    takeHealth(data);
  }
}

function takeHealth(data) {
  const wasOpen = model.heard.open.size > 0;
  model.takeHealth(data);
  const open = model.heard.open.size > 0;
  if (wasOpen && !open) loader.gaps(); // it is over, and stands among the closed ones from now on
  if (wasOpen || open) paintAll();
  health.painter.want();
  status.lag(data.partitions);
}

function paintAll() {
  for (const panel of [liquidations, imbalance, health]) panel.painter.want();
}

function offerSizes(sizes) {
  if (sizes.join(" ") === model.sizes.join(" ")) return;
  model.sizes = sizes;
  if (!sizes.includes(model.size?.name)) model.useSize(sizes[0]);
  const select = element("size");
  select.replaceChildren(...sizes.map((size) => new Option(size, size)));
  select.value = model.size.name;
  element("size-label").hidden = sizes.length < 2;
}

element("size").addEventListener("change", (event) => {
  model.useSize(event.target.value);
  paintAll();
  loader.lists();
});

const GAPS_MS_MIN = 60_000;

/** Once a second: the clock, a new window where time alone has begun one, and now and then the gaps. */
let running = null;
let gapsAskedIn = null; // the window, or the minute where windows are shorter, that the gaps were last asked for in
function tick() {
  if (model.size === null) return;
  element("clock").firstElementChild.textContent = second(model.nowMs());
  if (!status.connected) return;
  if (running !== model.runningMs()) paintAll();
  running = model.runningMs();
  const period = Math.floor(model.nowMs() / Math.max(GAPS_MS_MIN, model.size.ms));
  if (gapsAskedIn !== null && gapsAskedIn !== period) loader.gaps();
  gapsAskedIn = period;
}
