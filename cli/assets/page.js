// What all views share. Text from outside only ever becomes text: nothing here makes markup of a string.

/** An element: tag, attributes (`class`, listeners as functions), children (nodes, texts). */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined).map((child) =>
    child instanceof Node ? child : String(child)));
  return element;
}

/** A table in a box that scrolls by itself. Cells: texts, nodes, or `{text, class}`. */
export function table(caption, headings, rows) {
  const heading = (name) => typeof name === "string" ? el("th", { scope: "col" }, name) : el("th", { scope: "col", class: name.class }, name.text);
  const cell = (value) => {
    if (value instanceof Node) return el("td", {}, value);
    if (value !== null && typeof value === "object") return el("td", { class: value.class }, value.text);
    return el("td", {}, value ?? "");
  };
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, headings.map(heading))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))));
}

export const number = (value) => ({ text: value ?? "?", class: "number" });
export const heading = (text) => ({ text, class: "number" });

/** Keeps one child of `parent` for each item, by key, so that focus and open details survive a refresh. */
export function keyed(parent, items, key, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const name = key(item);
    let child = old.get(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    update(child, item);
    return child;
  });
  const same = children.length === parent.children.length && children.every((child, i) => parent.children[i] === child);
  if (!same) parent.replaceChildren(...children);
}

const problems = new Map();

/** Says what is wrong with a part, or with an empty text that it is over. */
export function problem(part, text) {
  if ((problems.get(part) ?? "") === text) return;
  if (text) problems.set(part, text);
  else problems.delete(part);
  document.getElementById("problems").replaceChildren(...[...problems].map(([name, words]) =>
    el("p", { class: "problem" }, el("b", {}, `${name}: `), words)));
}

export function clearProblems() {
  problems.clear();
  document.getElementById("problems").replaceChildren();
}

const GONE = "no answer; does candlectl still run? Trying again.";

/** The answer of a question, or `null` with a problem said. */
export async function ask(path) {
  try {
    const response = await fetch(path);
    const answer = await response.json();
    problem("candlectl", "");
    if (response.ok) return answer;
    problem(answer.part ?? "candlectl", answer.problem ?? `${response.status}`);
  } catch {
    problem("candlectl", GONE);
  }
  return null;
}

/** Asks again and again until the view is left; a hidden page asks for nothing. */
export function every(ms, signal, act) {
  const turn = async () => {
    if (signal.aborted) return;
    if (!document.hidden) await act();
    if (!signal.aborted) setTimeout(turn, ms);
  };
  turn();
}

/** Follows an event stream until the view is left. The browser connects again by itself where it can. */
export function follow(path, signal, handlers) {
  let stream = null;
  const open = () => {
    if (signal.aborted) return;
    stream = new EventSource(path);
    let part = null;
    stream.addEventListener("open", () => problem("candlectl", ""));
    stream.addEventListener("problem", (event) => {
      const told = JSON.parse(event.data);
      part = told.part;
      problem(told.part, told.problem);
    });
    stream.addEventListener("well", () => { if (part) problem(part, ""); });
    for (const [name, handle] of Object.entries(handlers)) {
      stream.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    stream.addEventListener("error", () => {
      if (signal.aborted) return;
      problem("candlectl", GONE);
      if (stream.readyState === EventSource.CLOSED) setTimeout(open, 3000);
    });
  };
  signal.addEventListener("abort", () => stream?.close());
  open();
}

export const clock = (ms) => ms === null || ms === undefined ? "" : new Date(ms).toISOString().replace("T", " ").replace(/\.?0*Z$/, "");
