// The details of one agent: its description, its figures, and their charts for the last quarter of an hour.

import { block } from "./agents.js";
import { Chart } from "./chart.js";
import { lag, syncing } from "./columns.js";
import * as format from "./format.js";
import { Samples } from "./samples.js";

const CHARTS = [
  {
    title: "Load",
    scale: { range: () => [0, 100], unit: " %" },
    lines: [
      { key: "cpu", label: "CPU", colour: "--series-1", format: format.percent },
      { key: "memory", label: "Memory", colour: "--series-2", format: format.percent },
      { key: "disk", label: "Disk", colour: "--series-3", format: format.percent },
    ],
  },
  { title: "Latency", scale: { unit: " ms" }, lines: [{ key: "latency", label: "Latency", colour: "--series-1", format: format.milliseconds }] },
  { title: "Peers", scale: { whole: true }, lines: [{ key: "peers", label: "Peers", colour: "--series-2", format: format.count }] },
  { title: "Pending transactions", scale: { whole: true }, lines: [{ key: "pending", label: "Pending", colour: "--series-3", format: format.count }] },
  { title: "Block", scale: { whole: true }, lines: [{ key: "block", label: "Block", colour: "--series-1", format: format.count }] },
];

// Each with its warning level, where it has one.
const FIGURES = [
  ["Block", (agent, agents) => [format.count(block(agent)), lag(agents.behind(agent)).text].join(" "), (agent, agents) => lag(agents.behind(agent)).tone],
  ["Syncing", syncing, ({ live }) => (live.syncing.on ? "doubt" : "")],
  ["Peers", ({ live }) => format.count(live.peers), ({ live }) => (live.peers === 0 ? "doubt" : "")],
  ["Latency", ({ live }) => format.milliseconds(live.latency)],
  ["Pending", ({ live }) => format.count(live.pending)],
  ["Gas price", ({ live }) => format.gwei(live.gas_price)],
  ["Hash rate", ({ live }) => format.hashrate(live.hashrate)],
  ["Mining", ({ live }) => format.yesOrNo(live.mining)],
  ["Node uptime", ({ live }) => format.percent(live.uptime)],
];

const ABOUT = [
  ["Name", "name"],
  ["Node", "node"],
  ["Network", "net"],
  ["Client", "client"],
  ["System", "os"],
  ["Contact", "contact"],
  ["Coinbase", "coinbase"],
];

export class Detail {
  #agents;
  #closed;
  #element = document.getElementById("detail");
  #charts = [];
  #samples = new Samples();
  #id;

  // `closed(id)` is called when the details are closed.
  constructor(agents, closed) {
    this.#agents = agents;
    this.#closed = closed;
    addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    // Charts take their colours when they are made.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#id && this.#build());
  }

  async open(id) {
    if (id !== this.#id) this.#samples = new Samples();
    this.#id = id;
    this.#build();
    this.#element.querySelector("h2").focus();
    await this.reload();
  }

  close() {
    if (this.#id === undefined) return;
    const id = this.#id;
    this.#id = undefined;
    this.#element.hidden = true;
    document.body.classList.remove("with-detail");
    this.#dropCharts();
    this.#closed(id);
  }

  // Asks the server for earlier figures, and keeps those that it no longer has.
  async reload() {
    const id = this.#id;
    if (id === undefined) return;
    const answer = await fetch(`history?agent=${encodeURIComponent(id)}`, { cache: "no-store" }).catch(() => undefined);
    if (!answer?.ok || this.#id !== id) return;
    this.#samples.merge(await answer.json());
    this.changed();
  }

  // The figures of the agent may have changed.
  changed() {
    const agent = this.#agents.known.get(this.#id);
    if (this.#id === undefined || !agent) return;
    this.#samples.note(agent);
    this.#showFigures(agent);
    const { samples, from, to } = this.#samples.recent(Math.floor(this.#agents.now() / 1000));
    for (const { chart, lines, now } of this.#charts) {
      chart.show([samples.map(({ at }) => at), ...lines.map(({ key }) => samples.map((sample) => sample[key] ?? null))], from, to);
      now(samples.at(-1));
    }
  }

  #build() {
    this.#dropCharts();
    const close = make("button", { type: "button", className: "close", textContent: "Close" });
    close.addEventListener("click", () => this.close());
    const name = make("h2", { id: "detail-name", tabIndex: -1, textContent: this.#id });
    this.#element.replaceChildren(
      make("header", {}, name, close),
      make("p", { className: "detail-state", id: "detail-state" }),
      make("dl", { className: "facts", id: "detail-figures" }),
      make("h3", { textContent: "About" }),
      make("dl", { className: "facts", id: "detail-about" }),
    );
    this.#element.hidden = false;
    document.body.classList.add("with-detail");
    this.#charts = CHARTS.map((chart) => this.#chart(chart));
    this.changed();
  }

  #chart({ title, lines, scale }) {
    const values = lines.map((line) => make("span", { className: "value" }));
    const legend = lines.map((line, n) => {
      const mark = make("span", { className: "mark" });
      mark.style.setProperty("--mark", `var(${line.colour})`);
      const label = lines.length > 1 ? [mark, `${line.label} `] : [mark];
      return make("span", { className: "entry" }, ...label, values[n]);
    });
    const place = make("div", { className: "plot" });
    place.setAttribute("role", "img");
    this.#element.append(
      make("section", { className: "chart" }, make("h3", {}, `${title} `, make("span", { className: "legend" }, ...legend)), place),
    );
    const now = (sample) => {
      const texts = lines.map(({ key, format }) => format(sample?.[key]));
      texts.forEach((text, n) => (values[n].textContent = text));
      const told = lines.map(({ label }, n) => `${label} ${texts[n]}`).join(", ");
      place.setAttribute("aria-label", `Chart of the last 15 minutes. Now: ${told}`);
    };
    return { chart: new Chart(place, lines, scale), lines, now };
  }

  #showFigures(agent) {
    const state = document.getElementById("detail-state");
    state.dataset.state = agent.state;
    const now = this.#agents.now();
    state.replaceChildren(
      make("span", { className: "pill", textContent: agent.state }),
      ` since ${format.when(agent.since, now)}, last seen ${format.ago(now - agent.seen)}`,
    );
    facts("detail-figures", FIGURES.map(([label, text, tone]) => [label, text(agent, this.#agents), tone?.(agent, this.#agents) ?? ""]));
    const about = ABOUT.map(([label, key]) => [label, told(agent, key), ""]).filter(([, text]) => text);
    facts("detail-about", about.length > 0 ? about : [["Name", "not reported yet", ""]]);
  }

  #dropCharts() {
    for (const { chart } of this.#charts) chart.remove();
    this.#charts = [];
  }
}

function told({ id, about }, key) {
  const text = about?.[key];
  if (key === "name" && text === id) return undefined;
  return key === "os" && text ? [text, about.os_v].filter(Boolean).join(" ") : text;
}

function facts(id, pairs) {
  const list = document.getElementById(id);
  const text = pairs.flat().join("\n");
  // Written only when it differs, so that a text selection is kept.
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(
    ...pairs.map(([label, value, tone]) => {
      const told = make("dd", { textContent: value, title: value });
      told.dataset.tone = tone;
      return make("div", {}, make("dt", { textContent: label }), told);
    }),
  );
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
