// Shows the newest windows of the JSON routes, once a second. Everything from outside goes through textContent.
const usd = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const share = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const time = (ms) => new Date(ms).toISOString().slice(11, 19);
const coverage = (value) => (value === null ? "–" : share.format(value));
const state = (w) => (w.final ? "final" : "open");

const views = {
  liquidations: (w) => [w.asset, w.window, time(w.window_start), usd.format(w.long_usd), usd.format(w.short_usd),
    usd.format(w.largest_usd), w.long_count + w.short_count, coverage(w.coverage), state(w)],
  imbalance: (w) => [`${w.exchange} ${w.symbol} ≥ ${usd.format(w.min_vol_usd)}`, w.window, time(w.window_start),
    usd.format(w.buy_usd), usd.format(w.sell_usd), share.format(w.imbalance), w.close, coverage(w.coverage), state(w)],
};

async function refresh(name) {
  const response = await fetch(`/${name}/?windows=2`);
  if (!response.ok) throw new Error(`${name}: HTTP ${response.status}`);
  const { windows } = await response.json();
  const rows = windows.slice(0, 200).map((window) => {
    const row = document.createElement("tr");
    row.className = state(window);
    for (const text of views[name](window)) row.insertCell().textContent = text;
    return row;
  });
  document.getElementById(name).replaceChildren(...rows);
}

async function tick() {
  const line = document.getElementById("state");
  try {
    await Promise.all(Object.keys(views).map(refresh));
    line.textContent = `live, ${time(Date.now())} UTC`;
  } catch (error) {
    line.textContent = `the worker does not answer: ${error.message}`;
  }
  setTimeout(tick, 1000);
}
tick();
