// The picture: a card for each segment, in a frame for each IP network. A bridge is a comb of bars, from which a wire leads to each member.

const SVG = "http://www.w3.org/2000/svg";
// How far a line between the places of a container leads out of them, in pixels.
const BEND = 40;

export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// How pills colour a status.
const TONES = { ready: "active", wired: "active", failed: "inactive", missing: "inactive" };
export const tone = (status) => TONES[status] ?? "unknown";

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

const MADE = new WeakMap();

// Makes the children of an element those of these keys, in order; returns them by key. One that stays is the same element, so that the focus
// stays with it. Children without a key come first.
function keep(parent, keys, create) {
  if (!MADE.has(parent)) MADE.set(parent, new Map());
  const made = MADE.get(parent);
  const wanted = new Set(keys);
  for (const [key, child] of made) {
    if (wanted.has(key)) continue;
    child.remove();
    made.delete(key);
  }
  let place = [...parent.children].find((child) => child.dataset.key !== undefined) ?? null;
  for (const key of keys) {
    let child = made.get(key);
    if (!child) {
      child = create(key);
      child.dataset.key = key;
      made.set(key, child);
    }
    if (child === place) place = child.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  return made;
}

function newCard(id) {
  const parts = [make("strong", { textContent: id }), make("span", { className: "gateway" }), make("span", { className: "status" })];
  const bridge = make("button", { type: "button", className: "bridge" }, ...parts);
  Object.assign(bridge.dataset, { kind: "cen", id });
  return make("article", { className: "card" }, make("h3", {}, bridge), make("ul"));
}

function newMember(id) {
  const parts = [make("span", { className: "name", textContent: id }), make("span", { className: "address" }), make("span", { className: "word" })];
  const chip = make("button", { type: "button", className: "chip" }, ...parts);
  Object.assign(chip.dataset, { kind: "container", id });
  return make("li", {}, chip);
}

export class Picture {
  #networks;
  #place = document.getElementById("picture");
  #links = document.getElementById("links");
  #chosen;
  #words = "";

  // `open({ kind, id })` is called for what is clicked.
  constructor(networks, open) {
    this.#networks = networks;
    this.#place.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) open({ kind: button.dataset.kind, id: button.dataset.id });
    });
    this.#place.addEventListener("keydown", (event) => this.#move(event));
    new ResizeObserver(() => this.#link()).observe(this.#place);
  }

  // Draws what is; elements that do not change are not touched. Returns how many frames there are.
  draw() {
    const hadFocus = this.#place.contains(document.activeElement);
    const all = this.#networks.frames();
    const frames = all.map(({ key, cin, cens }) => ({ key, cin, cens: cens.filter((cen) => this.#matches(cin, cen)) }));
    const shown = frames.filter(({ cens }) => cens.length > 0);
    const places = keep(this.#place, shown.map(({ key }) => key), () => make("section", { className: "frame" }));
    for (const { key, cin, cens } of shown) {
      this.#drawHead(places.get(key), cin);
      const cards = keep(places.get(key), cens, newCard);
      for (const id of cens) this.#drawCard(cards.get(id), id, cin);
    }
    // What had it is gone.
    if (hadFocus && !this.#place.contains(document.activeElement)) this.#place.parentElement.focus();
    this.#showChosen();
    return shown.length;
  }

  // Shows only networks that have these words in an id or address.
  filter(words) {
    this.#words = words.trim().toLowerCase();
    return this.draw();
  }

  choose(chosen) {
    this.#chosen = chosen;
    this.#showChosen();
  }

  focus({ kind, id }) {
    const buttons = [...this.#place.querySelectorAll("button")];
    buttons.find((button) => button.dataset.kind === kind && button.dataset.id === id)?.focus();
  }

  #matches(cin, id) {
    if (!this.#words) return true;
    const { contIDs } = this.#networks.cens.get(id);
    const texts = [id, cin ?? "", ...contIDs, ...contIDs.map((member) => this.#networks.address(id, member) ?? "")];
    return texts.some((text) => text.toLowerCase().includes(this.#words));
  }

  #drawHead(frame, id) {
    mark(frame, "cin", id ?? "");
    const cin = this.#networks.cins.get(id);
    frame.setAttribute("aria-label", cin ? `IP network ${id}` : "Segments without addresses");
    if (!cin) return frame.querySelector(":scope > h2")?.remove();
    let head = frame.querySelector(":scope > h2");
    if (!head) {
      head = make("h2", {}, make("button", { type: "button" }, make("strong"), " ", make("span", { className: "quiet" }), " ", make("span", { className: "pill" })));
      frame.prepend(head);
    }
    const [name, net, status] = head.firstChild.children;
    Object.assign(head.firstChild.dataset, { kind: "cin", id });
    write(name, id);
    write(net, `10.${cin.ip_b}.0.0/16`);
    write(status, cin.status);
    mark(head, "state", tone(cin.status));
  }

  #drawCard(card, id, cinId) {
    const cen = this.#networks.cens.get(id);
    const cin = this.#networks.cins.get(cinId);
    const first = cin?.cenIDs[0];
    const [, gateway, status] = card.querySelector(".bridge").children;
    mark(card, "status", cen.status);
    mark(card, "wire", cen.wire_type ?? "none");
    mark(card, "size", cen.contIDs.length > 24 ? "huge" : cen.contIDs.length > 8 ? "large" : "");
    mark(card, "trunk", first !== undefined && first !== id && cin.status === "ready" ? "yes" : "");
    const lead = first === id ? (cin.addressing[id]?.ip ?? "") : first === undefined ? "" : `trunk to ${first}`;
    write(gateway, lead);
    write(status, cen.status === "ready" ? "" : cen.status);
    const members = keep(card.lastChild, cen.contIDs, newMember);
    for (const member of cen.contIDs) this.#drawMember(members.get(member), id, member);
  }

  #drawMember(item, cen, id) {
    const [, address, word] = item.firstChild.children;
    const state = this.#networks.stateIn(cen, id);
    const others = this.#networks.containers.get(id)?.cens.length ?? 1;
    mark(item, "state", state);
    write(address, this.#networks.address(cen, id) ?? "");
    write(word, state === "missing" ? state : others > 1 ? `in ${others}` : "");
  }

  // Marks what is chosen wherever it is, and joins the places of one container.
  #showChosen() {
    for (const button of this.#place.querySelectorAll("button")) {
      const { kind, id } = button.dataset;
      const is = this.#chosen?.kind === kind && this.#chosen.id === id;
      if (is !== button.hasAttribute("aria-current")) button.toggleAttribute("aria-current", is);
      if (is) button.setAttribute("aria-current", "true");
    }
    this.#link();
  }

  #link() {
    const chips = this.#chosen?.kind === "container" ? [...this.#place.querySelectorAll(".chip[aria-current]")] : [];
    const origin = this.#place.getBoundingClientRect();
    const points = chips.map((chip) => {
      const box = chip.getBoundingClientRect();
      return [box.right - origin.left, box.top - origin.top + box.height / 2];
    });
    const paths = points.slice(1).map(([x, y], n) => {
      const [fromX, fromY] = points[n];
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", `M${fromX} ${fromY}C${fromX + BEND} ${fromY} ${x + BEND} ${y} ${x} ${y}`);
      return path;
    });
    if (paths.length > 0 || this.#links.firstChild) this.#links.replaceChildren(...paths);
  }

  // Up and down lead from one thing to the next, left and right from one segment to the next.
  #move(event) {
    const selector = { ArrowDown: "button", ArrowUp: "button", ArrowRight: ".bridge", ArrowLeft: ".bridge" }[event.key];
    if (!selector || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const buttons = [...this.#place.querySelectorAll(selector)];
    const from = event.target.closest(".card")?.querySelector(selector) ?? event.target;
    const at = buttons.indexOf(selector === "button" ? event.target : from);
    const step = event.key === "ArrowDown" || event.key === "ArrowRight" ? 1 : -1;
    buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)]?.focus();
  }
}
