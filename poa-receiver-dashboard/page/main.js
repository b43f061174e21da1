// Connects the parts of the page.

import { Agents } from "./agents.js";
import { Detail } from "./detail.js";
import { Feed } from "./feed.js";
import * as format from "./format.js";
import * as session from "./session.js";
import { ask } from "./sign-in.js";
import { Summary } from "./summary.js";
import { Table } from "./table.js";

const byId = (id) => document.getElementById(id);

const agents = new Agents();
const summary = new Summary(agents, open);
const table = new Table(agents, open);
const detail = new Detail(agents, (id) => {
  table.select(undefined);
  table.focus(id);
});
const source = {
  path: document.querySelector("meta[name=feed]").content.slice(1),
  protocols: () => "poa-dashboard-page",
  probe: session.probe,
};
const feed = new Feed(source, {
  message,
  connected,
  lost,
  async locked() {
    byId("lost").hidden = true;
    await ask(session.exchange);
    feed.connect();
  },
});

const STATES = [
  ["", "All"],
  ["active", "Active"],
  ["inactive", "Inactive"],
  ["unknown", "Unknown"],
];
const stateButtons = new Map();
let disconnected;

function message(json) {
  const fallen = agents.apply(json);
  if (fallen.length > 0 && !json.whole) announce(`Inactive: ${fallen.slice(0, 5).join(", ")}${fallen.length > 5 ? " and more" : ""}`);
  if (json.whole) table.replaced();
  else table.changed();
  detail.changed();
  showTotals();
}

function showTotals() {
  summary.changed();
  const states = agents.states();
  for (const [state, { button, count }] of stateButtons) {
    const number = state ? states[state] : agents.known.size;
    const text = format.count(number);
    if (count.textContent !== text) count.textContent = text;
    button.classList.toggle("some", number > 0);
  }
}

function connected() {
  disconnected = undefined;
  agents.rate.forget();
  document.body.dataset.connection = "live";
  byId("connection").textContent = "Live";
  byId("lost").hidden = true;
  detail.reload();
}

function lost({ since, next }) {
  const first = disconnected === undefined;
  disconnected = { since, next };
  document.body.dataset.connection = "lost";
  byId("connection").textContent = "Disconnected";
  byId("lost").hidden = false;
  if (first) agents.rate.forget();
  showTotals();
  showLost();
}

function showLost() {
  if (!disconnected) return;
  const { since, next } = disconnected;
  const now = Date.now();
  byId("lost-since").textContent = `since ${format.clock(since)} (${format.span(now - since)}). The values shown are from that time.`;
  byId("lost-next").textContent = next > now ? `Reconnecting in ${format.span(next - now + 999)}.` : "Reconnecting …";
}

function open(id) {
  table.select(id);
  detail.open(id);
}

function announce(text) {
  byId("announce").textContent = text;
}

function offerStates() {
  for (const [state, label] of STATES) {
    const button = document.createElement("button");
    const count = document.createElement("span");
    button.type = "button";
    button.dataset.state = state;
    button.setAttribute("aria-pressed", state === "");
    button.append(`${label} `, count);
    button.addEventListener("click", () => {
      for (const [other, { button }] of stateButtons) button.setAttribute("aria-pressed", other === state);
      table.only(state);
      announce(`${table.length} agents listed`);
    });
    stateButtons.set(state, { button, count });
    byId("states").append(button);
  }
}

byId("filter").addEventListener("input", (event) => {
  table.filter(event.target.value);
  announce(`${table.length} agents listed`);
});
byId("retry").addEventListener("click", () => feed.retryNow());
// Times such as "12 s ago" change without an update.
setInterval(() => {
  if (document.hidden) return;
  showLost();
  if (!disconnected) table.changed(false);
}, 1000);

offerStates();
await session.useAddress();
feed.connect();
