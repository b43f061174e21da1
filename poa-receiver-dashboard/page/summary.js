// The summary above the table.

import { AT_HEAD, FAR_BEHIND } from "./agents.js";
import * as format from "./format.js";
import { KEPT } from "./rate.js";

const byId = (id) => document.getElementById(id);

// The shortest time that the chart of the rate shows, and the length of a gap in it.
const LEAST = 60_000;
const SILENCE = 10_000;

const LOADS = [
  ["cpu", "CPU"],
  ["memory", "Memory"],
  ["disk", "Disk"],
];

export class Summary {
  #agents;
  #loads;

  // `open(id)` is called to show the details of an agent.
  constructor(agents, open) {
    this.#agents = agents;
    this.#loads = LOADS.map(([key, label]) => new Highest(key, label, open));
    byId("loads").append(...this.#loads.map(({ element }) => element));
  }

  changed() {
    const here = [...this.#agents.known.values()].filter(({ state }) => state !== "inactive");
    this.#showStates();
    this.#showBlocks(here);
    this.#showRate();
    this.#showLatency(here);
    const shown = this.#loads.map((load) => load.show(here));
    byId("tile-load").hidden = !shown.includes(true);
  }

  #showStates() {
    const { active, inactive, unknown } = this.#agents.states();
    const all = active + inactive + unknown;
    write("active", format.count(active));
    write("all", format.count(all));
    shares("states-bar", [active, unknown, inactive]);
  }

  #showBlocks(here) {
    const { head } = this.#agents;
    byId("tile-block").hidden = head === undefined;
    if (head === undefined) return;
    const lags = here.map((agent) => this.#agents.behind(agent)).filter((lag) => lag !== undefined);
    const far = lags.filter((lag) => lag > FAR_BEHIND).length;
    const near = lags.filter((lag) => lag > AT_HEAD).length - far;
    write("head-block", format.count(head));
    write("behind", `${format.count(near + far)} behind`);
    shares("blocks-bar", [lags.length - near - far, near, far]);
  }

  #showRate() {
    const { rate } = this.#agents;
    write("rate", format.rate(rate.perSecond));
    write("metrics", format.count(rate.total));
    const pieces = lines(rate.recent, this.#agents.now());
    byId("rate-line").setAttribute("d", pieces.map((piece) => `M${piece.join("L")}`).join(""));
    byId("rate-area").setAttribute("d", pieces.map(area).join(""));
  }

  #showLatency(here) {
    const known = here.filter(({ live }) => live.latency !== null).sort((a, b) => a.live.latency - b.live.latency);
    byId("tile-latency").hidden = known.length === 0;
    if (known.length === 0) return;
    const slowest = known.at(-1);
    write("latency", format.milliseconds(known[known.length >> 1].live.latency));
    write("slowest", `highest ${format.milliseconds(slowest.live.latency)}`);
  }
}

// The agent with the highest value.
class Highest {
  element = document.createElement("button");
  #key;
  #value = document.createElement("span");
  #name = document.createElement("span");
  #agent;

  constructor(key, label, open) {
    this.#key = key;
    this.element.type = "button";
    const name = document.createElement("span");
    name.textContent = label;
    this.#value.className = "bar";
    this.#name.className = "name";
    this.element.append(name, this.#value, this.#name);
    this.element.addEventListener("click", () => open(this.#agent));
  }

  // Whether there is one.
  show(agents) {
    const value = ({ live }) => live[this.#key] ?? -1;
    const highest = agents.reduce((most, agent) => (value(agent) > value(most) ? agent : most), { live: {} });
    this.element.hidden = highest.id === undefined;
    if (highest.id === undefined) return false;
    this.#agent = highest.id;
    const share = Math.min(100, value(highest));
    this.#value.style.setProperty("--share", share);
    this.#value.dataset.tone = format.loadTone(share);
    set(this.#value, format.percent(value(highest)));
    set(this.#name, highest.id);
    return true;
  }
}

// The lines of the rate, in a box of 100 by 100 whose right edge is now, interrupted where no update was received.
function lines(points, now) {
  const pieces = [];
  const span = Math.min(KEPT, Math.max(LEAST, now - points[0]?.at));
  const top = Math.max(1, ...points.map(({ value }) => value)) * 1.1;
  for (const [n, { at, value }] of points.entries()) {
    if (n === 0 || at - points[n - 1].at > SILENCE) pieces.push([]);
    pieces.at(-1).push(`${(100 - ((now - at) / span) * 100).toFixed(2)} ${(100 - (value / top) * 100).toFixed(1)}`);
  }
  return pieces;
}

// The area below a line.
function area(piece) {
  const [first, last] = [piece[0], piece.at(-1)].map((place) => place.split(" ")[0]);
  return `M${first} 100L${piece.join("L")}L${last} 100Z`;
}

// Divides a bar among its parts.
function shares(id, numbers) {
  for (const [n, part] of [...byId(id).children].entries()) {
    part.style.setProperty("flex-grow", numbers[n]);
    part.hidden = numbers[n] === 0;
  }
}

function write(id, text) {
  set(byId(id), text);
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
