// Which view is shown, which parts answer, light or dark.
import { ask, clearProblems, el, every, problem } from "./page.js";
import { chartView } from "./chart.js";
import { groupsView, recordsView, schemasView, topicsView } from "./kafka.js";

const VIEWS = {
  chart: ["Chart", chartView],
  topics: ["Topics", topicsView],
  records: ["Records", recordsView],
  groups: ["Groups", groupsView],
  schemas: ["Schemas", schemasView],
};

let pipeline = null;
let leave = new AbortController();

/** `#name?key=value`: the view and its choices, so that a link leads to the same picture. */
function address() {
  const [name, query] = location.hash.slice(1).split("?");
  return { name: VIEWS[name] ? name : "chart", choices: new URLSearchParams(query ?? "") };
}

function show() {
  const { name, choices } = address();
  leave.abort();
  leave = new AbortController();
  clearProblems();
  const [title, view] = VIEWS[name];
  document.title = `${title} · Candles`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const main = document.getElementById("view");
  main.replaceChildren();
  view(main, pipeline, choices, leave.signal);
}

function theme() {
  const root = document.documentElement;
  const stored = localStorage.getItem("theme");
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  document.getElementById("theme").addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const next = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
    root.dataset.theme = next;
    localStorage.setItem("theme", next);
    dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
}

async function parts() {
  const answer = await ask("/api/status");
  if (!answer) return;
  document.getElementById("parts").replaceChildren(...answer.map((part) =>
    el("li", { class: part.ok ? "ok" : "down", title: part.text },
      el("span", { class: "dot", "aria-hidden": "true" }, part.ok ? "●" : "▲"),
      part.ok ? `${part.name}: ${part.text}` : `${part.name} does not answer: ${part.text}`)));
}

async function begin() {
  theme();
  while (!(pipeline = await ask("/api/pipeline"))) await new Promise((wake) => setTimeout(wake, 2000));
  document.getElementById("note").textContent = pipeline.note;
  addEventListener("hashchange", show);
  show();
  every(5000, new AbortController().signal, parts);
}

addEventListener("unhandledrejection", (event) => problem("page", String(event.reason)));
begin();
