// Candles of a symbol and an interval, as they change.
import { clock, el, follow, heading, number, table } from "./page.js";

const COUNT = 300;
const TABLE_ROWS = 12;
/** Windows without a trade that are drawn one by one; a longer gap is one step. */
const GAP_MAX = 200;
const RISE = "#0a8f6c", FALL = "#d64545", FORMING = "#e0a100", INCOMPLETE = "#8d98a5", NONE = "rgba(0,0,0,0)";

const SECONDS = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
const seconds = (interval) => parseInt(interval, 10) * SECONDS[interval.slice(-1)];

function colours() {
  const style = getComputedStyle(document.body);
  const probe = (name) => {
    const element = el("span", { class: name });
    document.body.append(element);
    const colour = getComputedStyle(element).color;
    element.remove();
    return colour;
  };
  return { text: probe("soft"), line: style.getPropertyValue("color").replace("rgb", "rgba").replace(")", ", 0.12)") };
}

function bar(candle) {
  const { time, open, high, low, close } = candle;
  const colour = candle.state === "forming" ? FORMING : candle.state === "incomplete" ? INCOMPLETE : close >= open ? RISE : FALL;
  const body = candle.state === "forming" ? `${colour}40` : colour;
  return { time, open, high, low, close, color: body, borderColor: colour, wickColor: colour };
}

function volume(candle) {
  const colour = candle.state === "final" ? (candle.close >= candle.open ? RISE : FALL) : candle.state === "forming" ? FORMING : INCOMPLETE;
  return { time: candle.time, value: candle.volume, color: `${colour}88` };
}

/** Every window from the first to the last candle; those without one are empty. */
function withGaps(candles, step) {
  const items = [];
  let gaps = 0;
  candles.forEach((candle, i) => {
    if (i > 0) {
      const missing = Math.round((candle.time - candles[i - 1].time) / step) - 1;
      gaps += Math.max(missing, 0);
      for (let n = 1; n <= Math.min(missing, GAP_MAX); n++) items.push({ time: candles[i - 1].time + n * step });
    }
    items.push(candle);
  });
  return { items, gaps };
}

function decimals(candles) {
  const of = (value) => (String(value).includes("e-") ? 8 : (String(value).split(".")[1] ?? "").length);
  return Math.min(8, Math.max(...candles.slice(-50).map((candle) => Math.max(of(candle.open), of(candle.close)))));
}

function choice(label, values, chosen, choose) {
  const buttons = values.map((value) =>
    el("button", { type: "button", "aria-pressed": String(value === chosen), click: () => choose(value) }, value));
  return el("span", { class: "group", role: "group", "aria-label": label }, buttons);
}

export function chartView(main, pipeline, choices, signal) {
  const symbol = pipeline.symbols.includes(choices.get("symbol")) ? choices.get("symbol") : pipeline.symbols[0];
  const interval = pipeline.intervals.includes(choices.get("interval")) ? choices.get("interval") : pipeline.intervals[0];
  if (!interval) {
    main.append(el("p", { class: "hint" }, "The pipeline makes no candles: candles.intervals is empty."));
    return;
  }
  const go = (changes) => { location.hash = `chart?${new URLSearchParams({ symbol, interval, ...changes })}`; };
  const symbols = el("select", { "aria-label": "Symbol", change: (event) => go({ symbol: event.target.value }) },
    pipeline.symbols.map((name) => el("option", { value: name, selected: name === symbol }, name)));
  const readout = el("p", { class: "readout" }, el("span", { class: "hint" }, "Waiting for candles …"));
  const canvas = el("div", { id: "canvas", tabindex: "0", role: "img",
    "aria-label": `Candles of ${symbol}, ${interval}. Arrow keys move, plus and minus zoom, End shows the newest. The table below holds the newest.` });
  const legend = el("ul", { class: "legend" });
  const rows = el("div", {});
  main.append(
    el("div", { class: "controls" }, el("label", {}, "Symbol", symbols), choice("Interval", pipeline.intervals, interval, (value) => go({ interval: value }))),
    el("section", { class: "card" }, readout, canvas, legend),
    el("section", { class: "card" }, rows));
  draw({ symbol, interval, readout, canvas, legend, rows, signal });
}

function draw({ symbol, interval, readout, canvas, legend, rows, signal }) {
  const { createChart, CandlestickSeries, HistogramSeries, CrosshairMode } = window.LightweightCharts;
  const look = () => {
    const { text, line } = colours();
    return {
      layout: { background: { color: NONE }, textColor: text, attributionLogo: false, panes: { separatorColor: line } },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line }, timeScale: { borderColor: line },
    };
  };
  const chart = createChart(canvas, { autoSize: true, ...look(), crosshair: { mode: CrosshairMode.Normal } });
  chart.timeScale().applyOptions({ timeVisible: true, secondsVisible: seconds(interval) < 60, rightOffset: 4, minBarSpacing: 2 });
  const candleSeries = chart.addSeries(CandlestickSeries, { upColor: RISE, downColor: FALL, priceLineVisible: true });
  const volumeSeries = chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  chart.priceScale("right").applyOptions({ scaleMargins: { top: 0.06, bottom: 0.22 } });

  const candles = new Map();
  const step = seconds(interval);
  let hovered = null, sorted = [];

  const tell = () => {
    const candle = (hovered !== null && candles.get(hovered)) || sorted.at(-1);
    if (!candle) return;
    const direction = candle.close >= candle.open ? "good" : "bad";
    const fact = (name, value) => el("span", {}, `${name} `, el("b", { class: direction }, value));
    readout.replaceChildren(el("b", {}, symbol), el("span", { class: "soft" }, `${clock(candle.time * 1000)} UTC`),
      fact("O", candle.open), fact("H", candle.high), fact("L", candle.low), fact("C", candle.close),
      el("span", {}, `V ${candle.volume}`), el("span", { class: "soft" }, `${candle.count} trades`),
      el("span", { class: candle.state === "final" ? "good" : "warn" }, candle.state));
  };

  follow(`/api/candles/live?${new URLSearchParams({ symbol, interval, count: COUNT })}`, signal, {
    candles(changed) {
      const first = candles.size === 0;
      for (const candle of changed) candles.set(candle.time, candle);
      sorted = [...candles.values()].sort((a, b) => a.time - b.time).slice(-2 * COUNT);
      const { items, gaps } = withGaps(sorted, step);
      const places = decimals(sorted);
      candleSeries.applyOptions({ priceFormat: { type: "price", precision: places, minMove: 10 ** -places } });
      candleSeries.setData(items.map((item) => item.open === undefined ? item : bar(item)));
      volumeSeries.setData(items.map((item) => item.open === undefined ? item : volume(item)));
      const shown = Math.min(Math.max(items.length + 6, 50), canvas.clientWidth / 7);
      if (first) chart.timeScale().setVisibleLogicalRange({ from: items.length + 3 - shown, to: items.length + 3 });
      const count = (state) => sorted.filter((candle) => candle.state === state).length;
      const key = (name, text) => el("li", {}, el("span", { class: `swatch ${name}` }), text);
      legend.replaceChildren(key("rise", "rising"), key("fall", "falling"), key("forming", `${count("forming")} forming`),
        key("incomplete", `${count("incomplete")} incomplete`), key("gap", `${gaps} windows without a trade`),
        el("li", {}, `${count("final")} final`));
      rows.replaceChildren(table(`The newest candles of ${symbol}, ${interval}, by start (UTC)`,
        ["Start", heading("Open"), heading("High"), heading("Low"), heading("Close"), heading("Volume"),
          { text: "VWAP", class: "number optional" }, heading("Trades"), "State"],
        sorted.slice(-TABLE_ROWS).reverse().map((candle) => [
          { text: clock(candle.time * 1000), class: "mono" }, number(candle.open), number(candle.high), number(candle.low),
          number(candle.close), number(candle.volume), { text: candle.vwap.toPrecision(8), class: "number optional" }, number(candle.count),
          { text: candle.state, class: candle.state === "final" ? "good" : "warn" }])));
      tell();
    },
  });

  chart.subscribeCrosshairMove((move) => { hovered = move.time ?? null; tell(); });
  const scale = chart.timeScale();
  const keys = {
    ArrowLeft: () => scale.scrollToPosition(scale.scrollPosition() - 5, false),
    ArrowRight: () => scale.scrollToPosition(scale.scrollPosition() + 5, false),
    "+": () => scale.applyOptions({ barSpacing: scale.options().barSpacing * 1.25 }),
    "-": () => scale.applyOptions({ barSpacing: scale.options().barSpacing / 1.25 }),
    End: () => scale.scrollToRealTime(),
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  addEventListener("themechange", () => chart.applyOptions(look()), { signal });
  signal.addEventListener("abort", () => chart.remove());
}
