// The table: all agents are sorted and filtered, but only visible rows are drawn.

import { COLUMNS } from "./columns.js";
import { NONE } from "./format.js";

// The number of rows drawn above and below the visible ones, so that the keyboard can reach them.
const SPARE = 6;
// The shortest time between changes of the order, in milliseconds, so that people can follow.
const SETTLE = 2_000;

const byId = (id) => document.getElementById(id);

export class Table {
  #agents;
  #open;
  #scroller = byId("scroller");
  #body = byId("rows");
  #headers = new Map();
  #rows = new Map();
  #order = [];
  #sorted = -Infinity;
  #unsorted = true;
  #drawn = false;
  #rowHeight = 0;
  #sort = { column: COLUMNS.find(({ key }) => key === "state"), descending: false };
  #filter = "";
  #state = "";
  #selected;

  // `open(id, button)` is called to show the details of an agent.
  constructor(agents, open) {
    this.#agents = agents;
    this.#open = open;
    byId("head").append(...COLUMNS.map((column) => this.#header(column)));
    this.#offerSorts();
    this.#scroller.addEventListener("scroll", () => this.changed(false), { passive: true });
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#body.addEventListener("keydown", (event) => this.#moved(event));
    new ResizeObserver(() => this.resized()).observe(this.#scroller);
    byId("direction").addEventListener("click", () => this.#sortBy(this.#sort.column));
    this.#showSort();
  }

  // Requests a redraw with the next frame; several requests make one redraw.
  changed(order = true) {
    this.#unsorted ||= order;
    if (this.#drawn) return;
    this.#drawn = true;
    requestAnimationFrame(() => {
      this.#drawn = false;
      this.#draw();
    });
  }

  // Everything can have changed: rows are reordered immediately.
  replaced() {
    this.#sorted = -Infinity;
    this.changed();
  }

  resized() {
    this.#rowHeight = 0;
    this.changed(false);
  }

  filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#reorder();
  }

  only(state) {
    this.#state = state;
    this.#reorder();
  }

  // Marks the agent whose details are shown.
  select(id) {
    this.#selected = id;
    this.changed(false);
  }

  // The number of listed agents.
  get length() {
    return this.#order.length;
  }

  // Returns the focus to the agent whose details were shown.
  focus(id) {
    const row = this.#rows.get(id);
    (row?.button ?? this.#scroller).focus({ preventScroll: true });
  }

  #reorder() {
    this.#sorted = -Infinity;
    this.#scroller.scrollTop = 0;
    this.#unsorted = true;
    this.#draw();
  }

  #header(column) {
    const cell = document.createElement("th");
    cell.setAttribute("role", "columnheader");
    cell.scope = "col";
    cell.className = classOf(column);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.label;
    button.addEventListener("click", () => this.#sortBy(column));
    cell.append(button);
    this.#headers.set(column, cell);
    return cell;
  }

  // On a phone there is no room for headers to tap on.
  #offerSorts() {
    const select = byId("sort");
    select.append(...COLUMNS.map(({ key, label }) => new Option(label, key)));
    select.addEventListener("change", () => {
      const column = COLUMNS.find(({ key }) => key === select.value);
      this.#sort = { column, descending: Boolean(column.descending) };
      this.#showSort();
      this.#reorder();
    });
  }

  #sortBy(column) {
    const again = this.#sort.column === column;
    this.#sort = { column, descending: again ? !this.#sort.descending : Boolean(column.descending) };
    this.#showSort();
    this.#reorder();
  }

  #showSort() {
    const { column: sorted, descending } = this.#sort;
    byId("sort").value = sorted.key;
    byId("direction").textContent = descending ? "↓" : "↑";
    byId("direction").ariaLabel = `Sorted ${descending ? "descending" : "ascending"}. Reverse`;
    for (const [column, cell] of this.#headers) {
      if (column !== sorted) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
  }

  #arrange() {
    const now = performance.now();
    if (!this.#unsorted || now - this.#sorted < SETTLE) return;
    this.#sorted = now;
    this.#unsorted = false;
    const { column, descending } = this.#sort;
    const wanted = (agent) => (!this.#state || agent.state === this.#state) && agent.words.includes(this.#filter);
    const keyed = [];
    for (const agent of this.#agents.known.values()) {
      if (wanted(agent)) keyed.push({ id: agent.id, value: column.value(agent) });
    }
    const way = descending ? -1 : 1;
    keyed.sort((a, b) => way * compare(a.value, b.value) || compare(a.id, b.id));
    this.#order = keyed.map(({ id }) => id);
  }

  #draw() {
    this.#arrange();
    this.#rowHeight ||= Number.parseInt(getComputedStyle(this.#scroller).getPropertyValue("--row"), 10);
    const height = this.#rowHeight;
    const first = Math.max(0, Math.floor(this.#scroller.scrollTop / height) - SPARE);
    const last = Math.ceil((this.#scroller.scrollTop + this.#scroller.clientHeight) / height) + SPARE;
    this.#body.style.height = `${this.#order.length * height}px`;
    byId("table").setAttribute("aria-rowcount", this.#order.length + 1);
    const focused = this.#focused();
    const drawn = this.#order.slice(first, last).map((id, offset) => [first + offset, id]);
    const place = focused === undefined ? -1 : this.#order.indexOf(focused);
    // The focused row keeps the focus, wherever it moves.
    if (place >= last) drawn.push([place, focused]);
    if (place >= 0 && place < first) drawn.unshift([place, focused]);
    this.#show(drawn, this.#rows.get(focused)?.element);
    if (focused !== undefined && place < 0) this.#scroller.focus({ preventScroll: true });
    this.#sayNoAgents();
  }

  // The agent whose row has the focus.
  #focused() {
    return this.#body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.id : undefined;
  }

  // Draws these agents at these positions. Existing rows are reused, and only differences are written. The pinned row is not moved
  // in the document, or it would lose the focus: the others are moved around it.
  #show(drawn, pinned) {
    const stay = new Set(drawn.map(([, id]) => id));
    for (const [id, row] of this.#rows) {
      if (stay.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let next = this.#body.firstChild;
    const now = this.#agents.now();
    for (const [place, id] of drawn) {
      const agent = this.#agents.known.get(id);
      const row = this.#rows.get(id) ?? this.#newRow(id);
      if (agent) row.show(agent, this.#agents, now, place, id === this.#selected);
      if (row.element === next || row.element === pinned) next = row.element.nextSibling;
      else this.#body.insertBefore(row.element, next);
    }
  }

  #newRow(id) {
    const row = new Row(id);
    this.#rows.set(id, row);
    return row;
  }

  #sayNoAgents() {
    const note = byId("no-agents");
    note.hidden = this.#order.length > 0;
    if (note.hidden) return;
    note.textContent =
      this.#agents.known.size === 0 ? "No agent has been heard yet." : "No agent matches. Clear the filter to see all.";
  }

  #clicked(event) {
    const row = event.target.closest("tr");
    if (row && getSelection().isCollapsed) this.#open(row.dataset.id);
  }

  #moved(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const next = this.#order.indexOf(this.#focused()) + step;
    if (next < 0 || next >= this.#order.length) return;
    event.preventDefault();
    this.#bringIntoView(next);
    this.#draw();
    this.#rows.get(this.#order[next])?.button.focus({ preventScroll: true });
  }

  #bringIntoView(place) {
    const head = byId("head").offsetHeight;
    const top = place * this.#rowHeight;
    const lowest = this.#scroller.clientHeight - head - this.#rowHeight;
    this.#scroller.scrollTop = Math.min(top, Math.max(top - lowest, this.#scroller.scrollTop));
  }
}

// One row. It remembers its content, so that only differences are written.
class Row {
  element = document.createElement("tr");
  button = document.createElement("button");
  #cells = [];
  #shown = {};

  constructor(id) {
    this.element.dataset.id = id;
    this.element.setAttribute("role", "row");
    for (const column of COLUMNS) this.element.append(this.#cell(column));
    this.button.textContent = id;
    this.button.title = id;
  }

  #cell(column) {
    const isName = column.key === "agent";
    const cell = document.createElement(isName ? "th" : "td");
    cell.setAttribute("role", isName ? "rowheader" : "cell");
    cell.className = classOf(column);
    cell.dataset.label = column.label;
    const text = isName ? this.button : document.createElement("span");
    if (isName) this.button.type = "button";
    cell.append(text);
    this.#cells.push({ column, cell, text });
    return cell;
  }

  show(agent, agents, now, place, selected) {
    this.#write("row place", place, () => {
      this.element.style.setProperty("--place", place);
      this.element.setAttribute("aria-rowindex", place + 2);
      this.element.classList.toggle("odd", place % 2 === 1);
    });
    this.#write("row state", agent.state, () => (this.element.dataset.state = agent.state));
    this.#write("row selected", selected, () => this.element.classList.toggle("selected", selected));
    for (const { column, cell, text } of this.#cells) {
      if (column.key !== "agent") this.#showText(column, cell, text, agent, now);
      if (column.share) this.#showShare(column, cell, agent);
      if (column.tone) this.#write(`${column.key} tone`, column.tone(agent), (tone) => (cell.dataset.tone = tone));
      if (column.lag) this.#showLag(column, cell, agent, agents);
    }
  }

  #showText(column, cell, element, agent, now) {
    const text = column.text(agent, now);
    this.#write(column.key, text, () => {
      element.textContent = text;
      cell.classList.toggle("none", text === NONE);
      if (column.hint) cell.title = column.hint(agent);
    });
  }

  #showShare(column, cell, agent) {
    this.#write(`${column.key} share`, column.share(agent), (share) => cell.style.setProperty("--share", share));
  }

  #showLag(column, cell, agent, agents) {
    const { text, tone, hint } = column.lag(agent, agents);
    this.#write(`${column.key} lag`, text, () => {
      cell.dataset.lag = text;
      cell.dataset.tone = tone;
      cell.title = hint;
    });
  }

  #write(what, value, write) {
    if (this.#shown[what] === value) return;
    this.#shown[what] = value;
    write(value);
  }
}

function classOf({ key, numeric, share }) {
  return [`c-${key}`, numeric && "number", share && "bar"].filter(Boolean).join(" ");
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
