// The table: all agents are sorted and filtered, only the rows in sight are drawn.

import { COLUMNS } from "./columns.js";
import { NONE } from "./format.js";

// Rows that are drawn above and below those in sight, so that the keyboard can reach them.
const SPARE = 6;
// Rows do not change places more often than people can follow, in milliseconds.
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

  // `open(id, button)` is called when somebody wants to know more of an agent.
  constructor(agents, open) {
    this.#agents = agents;
    this.#open = open;
    byId("head").append(...COLUMNS.map((column) => this.#header(column)));
    this.#offerSorts();
    this.#scroller.addEventListener("scroll", () => this.changed(false), { passive: true });
    this.#body.addEventListener("click", (event) => this.#clicked(event));
    this.#body.addEventListener("keydown", (event) => this.#moved(event));
    new ResizeObserver(() => this.resized()).observe(this.#scroller);
    this.#showSort();
  }

  // Something is to be drawn: with the next frame, once, however often it changes until then.
  changed(order = true) {
    this.#unsorted ||= order;
    if (this.#drawn) return;
    this.#drawn = true;
    requestAnimationFrame(() => {
      this.#drawn = false;
      this.#draw();
    });
  }

  // Everything may be different now: rows take their places at once.
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
    this.#anew();
  }

  only(state) {
    this.#state = state;
    this.#anew();
  }

  // Marks the agent whose details are shown.
  select(id) {
    this.#selected = id;
    this.changed(false);
  }

  // How many agents are listed.
  get length() {
    return this.#order.length;
  }

  // Gives the focus back to the agent that was opened.
  focus(id) {
    const row = this.#rows.get(id);
    (row?.button ?? this.#scroller).focus();
  }

  #anew() {
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
      this.#sort = { column, descending: Boolean(column.downwards) };
      this.#showSort();
      this.#anew();
    });
  }

  #sortBy(column) {
    const again = this.#sort.column === column;
    this.#sort = { column, descending: again ? !this.#sort.descending : Boolean(column.downwards) };
    this.#showSort();
    this.#anew();
  }

  #showSort() {
    const { column: sorted, descending } = this.#sort;
    byId("sort").value = sorted.key;
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
    this.#place(this.#order.slice(first, last), first);
    this.#sayNobody();
  }

  // Draws these agents, the first of them at this place. Rows that stay are kept, and only what differs is written.
  #place(ids, first) {
    const focused = document.activeElement;
    const stay = new Set(ids);
    for (const [id, row] of this.#rows) {
      if (stay.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    let before = this.#body.firstChild;
    const now = this.#agents.now();
    for (const [offset, id] of ids.entries()) {
      const agent = this.#agents.known.get(id);
      const row = this.#rows.get(id) ?? this.#newRow(id);
      if (agent) row.show(agent, now, first + offset, id === this.#selected);
      if (row.element === before) before = before.nextSibling;
      else this.#body.insertBefore(row.element, before);
    }
    // A row that changes its place loses the focus.
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  }

  #newRow(id) {
    const row = new Row(id);
    this.#rows.set(id, row);
    return row;
  }

  #sayNobody() {
    const nobody = byId("nobody");
    nobody.hidden = this.#order.length > 0;
    if (nobody.hidden) return;
    nobody.textContent =
      this.#agents.known.size === 0 ? "No agent has been heard yet." : "No agent matches. Clear the filter to see all.";
  }

  #clicked(event) {
    const row = event.target.closest("tr");
    if (row && getSelection().isCollapsed) this.#open(row.dataset.id);
  }

  #moved(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const row = event.target.closest("tr");
    const next = step > 0 ? row?.nextElementSibling : row?.previousElementSibling;
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
  }
}

// One row. It remembers what it shows, so that nothing is written twice.
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

  show(agent, now, place, selected) {
    this.#write("place", place, () => {
      this.element.style.setProperty("--place", place);
      this.element.setAttribute("aria-rowindex", place + 2);
      this.element.classList.toggle("odd", place % 2 === 1);
    });
    this.#write("state", agent.state, () => (this.element.dataset.state = agent.state));
    this.#write("selected", selected, () => this.element.classList.toggle("selected", selected));
    for (const { column, cell, text } of this.#cells) {
      if (column.key !== "agent") this.#showCell(column, cell, text, agent, now);
    }
  }

  #showCell(column, cell, element, agent, now) {
    const text = column.text(agent, now);
    this.#write(column.key, text, () => {
      element.textContent = text;
      cell.classList.toggle("none", text === NONE);
      if (column.hint) cell.title = column.hint(agent);
    });
    if (!column.share) return;
    const share = Math.round(Math.min(100, Math.max(0, column.share(agent) ?? 0)));
    this.#write(`${column.key} share`, share, () => {
      cell.style.setProperty("--share", share);
      cell.classList.toggle("high", share >= 90);
    });
  }

  #write(what, value, write) {
    if (this.#shown[what] === value) return;
    this.#shown[what] = value;
    write();
  }
}

function classOf({ key, numeric, share }) {
  return [`c-${key}`, numeric && "number", share && "bar"].filter(Boolean).join(" ");
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
