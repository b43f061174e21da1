// Shows the gateway as it is every second, and sends what is written in the form.

import { ask } from "./sign-in.js";

const EVERY = 1_000;
const SILENCE = 7_000;
const LINES = "application/x-ndjson";
const NONE = "–";

const byId = (id) => document.getElementById(id);
const text = (id, value) => {
  if (byId(id).textContent !== value) byId(id).textContent = value;
};

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
const rate = (value) => (value < 10 ? short.format(Math.round(value * 10) / 10) : whole.format(value));
const time = (value) => (value === null ? NONE : value < 1000 ? `${short.format(value)} ms` : `${short.format(value / 1000)} s`);
const clock = (at) => new Date(at).toLocaleTimeString("en-GB");

// The token, for as long as the tab is open.
let token = sessionStorage.getItem("token") ?? "";

function call(path, { headers, ...options } = {}) {
  const own = token ? { authorization: `Bearer ${token}` } : {};
  return fetch(path, { cache: "no-store", ...options, headers: { ...own, ...headers } });
}

// What there is.

let heard = Date.now();
let asked = 0;
let locked = false;
const states = new Map();

async function look() {
  if (!document.hidden) await update();
  setTimeout(look, EVERY);
}

async function update() {
  if (locked) return;
  asked += 1;
  const turn = asked;
  const overview = `overview?contains=${encodeURIComponent(byId("filter").value)}`;
  try {
    const answer = await call(overview, { signal: AbortSignal.timeout(SILENCE) });
    if (locked) return;
    if (answer.status === 401) return await unlock();
    if (!answer.ok) return lost();
    const state = await answer.json();
    // One that was asked for later, with another filter, may be shown already.
    if (turn === asked) show(state);
  } catch {
    if (turn === asked) lost();
  }
}

// Resolves to the answer, or to `undefined` when there is none.
async function exchange(secret) {
  token = secret;
  return call("overview").catch(() => undefined);
}

async function unlock() {
  locked = true;
  byId("lost").hidden = true;
  await ask(exchange);
  sessionStorage.setItem("token", token);
  locked = false;
  await update();
}

function lost() {
  document.body.dataset.connection = "lost";
  text("connection", "Disconnected");
  byId("lost").hidden = false;
  text("lost-since", `since ${clock(heard)}. The values shown are from that time.`);
}

function show({ engine, states: counted, total, topics, nodes, bus }) {
  heard = Date.now();
  document.body.dataset.connection = "live";
  text("connection", "Live");
  byId("lost").hidden = true;
  const all = counted.ok + counted.unavailable + counted.dirty;
  text("nodes-ok", whole.format(counted.ok));
  text("nodes-all", whole.format(all));
  [...byId("nodes-bar").children].forEach((part, place) => {
    const count = [counted.ok, counted.unavailable, counted.dirty][place];
    part.hidden = count === 0;
    part.style.flexGrow = count;
  });
  text("rate", rate(total.rate));
  text("calls", whole.format(total.calls));
  text("failing", total.rate > 0 ? `${short.format((100 * total.failing) / total.rate)} %` : NONE);
  text("failed", whole.format(total.failed));
  text("p50", time(total.p50));
  text("p99", time(total.p99));
  text("engine", engine.name);
  text("engine-state", engine.down ?? "up");
  text("bus", whole.format(bus.taken));
  text("topics-count", countOf(topics));
  text("nodes-count", countOf(nodes));
  fill("topics", topics.shown, (topic) => `${topic.kind} ${topic.topic}`, topicCells);
  fill("nodes", nodes.shown, (node) => node.id, nodeCells);
  tellChanges(nodes.shown);
}

const countOf = ({ matching, shown }) => (matching > shown.length ? `${shown.length} of ${whole.format(matching)}` : whole.format(matching));

// Keeps the rows that are there, so that neither the focus nor a selection is lost.
function fill(id, items, keyOf, cellsOf) {
  const body = byId(id);
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, place) => {
    const key = keyOf(item);
    const row = known.get(key) ?? document.createElement("tr");
    known.delete(key);
    row.dataset.key = key;
    cellsOf(row, item);
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
  });
  for (const row of known.values()) row.remove();
  byId(`no-${id}`).hidden = items.length > 0;
}

function cell(row, place, value) {
  const at = row.cells[place] ?? row.appendChild(document.createElement(place === 0 ? "th" : "td"));
  if (place === 0) at.scope = "row";
  if (value !== undefined && at.textContent !== value) at.textContent = value;
  return at;
}

function topicCells(row, { kind, topic, calls, failed, rate: perSecond, failing, p50, p99 }) {
  if (row.cells.length === 0) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = topic;
    button.addEventListener("click", () => choose(kind, topic));
    cell(row, 0).append(button);
  }
  const values = [kind === "services" ? "service" : "slot", rate(perSecond), rate(failing), time(p50), time(p99), whole.format(calls), whole.format(failed)];
  values.forEach((value, place) => cell(row, place + 1, value));
  row.cells[3].classList.toggle("some", failing > 0);
}

function nodeCells(row, { agent, status, problem, target, services, slots, calls, failed }) {
  row.dataset.state = status;
  cell(row, 0, agent);
  const state = cell(row, 1);
  if (state.children.length === 0) state.append(made("span", "pill"), " ", made("span", "problem"));
  const [pill, why] = state.children;
  if (pill.textContent !== status) pill.textContent = status;
  if (why.textContent !== (problem ?? "")) why.textContent = problem ?? "";
  [target, whole.format(services.length), whole.format(slots.length), whole.format(calls), whole.format(failed)].forEach((value, place) => cell(row, place + 2, value));
}

function made(name, className, content = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = content;
  return element;
}

function tellChanges(shown) {
  const changed = shown.filter(({ id, status }) => states.has(id) && states.get(id) !== status);
  for (const { id, status } of shown) states.set(id, status);
  if (changed.length > 0) text("announce", changed.map(({ agent, status }) => `${agent} is ${status}`).join(", "));
}

// What is sent.

const form = byId("send");
let sending;

const kind = () => form.elements.kind.value;

function choose(of, topic) {
  form.elements.kind.value = of === "slots" ? "signal" : "request";
  byId("topic").value = topic;
  offer();
  byId("data").focus();
}

function offer() {
  const composed = kind() === "composition";
  byId("for-topic").hidden = composed;
  byId("for-composition").hidden = !composed;
  byId("for-timeout").hidden = kind() === "signal";
}

// The text as it is where it is JSON, so that numbers keep all their digits.
function json(value) {
  if (value.trim() === "") return "null";
  try {
    JSON.parse(value);
    return value;
  } catch {
    return JSON.stringify(value);
  }
}

function body() {
  const data = json(byId("data").value);
  if (kind() === "signal") return `{"topic":${JSON.stringify(byId("topic").value)},"message":${data}}`;
  const what = kind() === "composition" ? `"composition":${byId("composition").value}` : `"topic":${JSON.stringify(byId("topic").value)}`;
  return `{${what},"message":${data},"timeout":${Number(byId("timeout").value)}}`;
}

async function send(event) {
  event.preventDefault();
  sending?.abort();
  sending = new AbortController();
  const { signal } = sending;
  byId("stop").hidden = false;
  byId("drawing").replaceChildren();
  say("running", "Sent, waiting for the answer");
  const begin = performance.now();
  try {
    const headers = { "content-type": "application/json", accept: kind() === "composition" ? LINES : "application/json" };
    const answer = await call(kind(), { method: "POST", headers, body: body(), signal });
    const streamed = answer.headers.get("content-type") === LINES;
    const last = streamed ? await draw(answer) : await answer.text();
    tell(last, performance.now() - begin);
  } catch (error) {
    if (!signal.aborted) say("failed", `No answer: ${error.message}`);
    else if (sending?.signal === signal) say("failed", "Stopped");
  }
  if (sending?.signal === signal) {
    sending = undefined;
    byId("stop").hidden = true;
  }
}

function say(state, words, answer) {
  const verdict = byId("verdict");
  verdict.dataset.state = state;
  verdict.replaceChildren(made("span", "pill", words));
  byId("answer").hidden = answer === undefined;
  byId("answer").textContent = answer ?? "";
}

function tell(answer, took) {
  const { error, code, status, receivers } = JSON.parse(answer);
  // A browser knows no more than 15 digits of a number.
  const shown = /\d{16}/.test(answer) ? answer : JSON.stringify(JSON.parse(answer), null, 2);
  if (error !== undefined) return say("failed", error, shown);
  if (code !== undefined) return say(code === 200 ? "ok" : "failed", `Code ${code} in ${time(took)}`, shown);
  say(status === 0 ? "ok" : "failed", receivers === undefined ? "Sent" : `Reached ${receivers}`, shown);
}

// Reads the lines of a composition under way, and draws them; resolves to the last.
async function draw(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let last = "";
  let steps = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") continue;
      const event = JSON.parse(line);
      if (event.outline) steps = outline(event.outline);
      else if (event.step !== undefined) move(steps[event.step], event);
      else last = line;
    }
  }
  for (const step of steps) if (step.dataset.state === "waiting") label(step, "waiting", "not reached");
  if (last === "") throw new Error("the gateway ended the connection");
  return last;
}

function outline(all) {
  const lists = [byId("drawing")];
  return all.map(({ depth, operator, target }) => {
    lists.length = depth + 1;
    const step = made("div", "step");
    step.append(made("span", "", operator === "requests" ? "request" : operator), " ", made("code", "", target ?? ""), " ", made("span", "pill"));
    label(step, "waiting", "waiting");
    const inner = document.createElement("ul");
    const item = document.createElement("li");
    item.append(step);
    // A list without an entry is none.
    lists[depth].append(item);
    if (lists[depth].parentElement === null) lists[depth].owner.append(lists[depth]);
    inner.owner = item;
    lists.push(inner);
    return step;
  });
}

function move(step, { began, ended, code }) {
  if (ended === undefined) {
    step.began = began;
    return label(step, "running", "running");
  }
  label(step, code === 200 ? "ok" : "failed", `${code} · ${time(ended - step.began)}`);
}

function label(step, state, words) {
  step.dataset.state = state;
  step.lastElementChild.textContent = words;
}

form.addEventListener("submit", send);
form.addEventListener("change", offer);
byId("stop").addEventListener("click", () => sending?.abort());
byId("filter").addEventListener("input", update);
document.addEventListener("visibilitychange", () => document.hidden || update());

offer();
look();
