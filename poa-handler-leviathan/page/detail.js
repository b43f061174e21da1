// The panel beside the picture: one network or container, and what can be done with it.

import * as api from "./api.js";
import { make, tone } from "./picture.js";

const panel = document.getElementById("detail");
const confirm = document.getElementById("confirm");

// Asks before something is cut; resolves to whether it may be.
function ask(what, why, yes) {
  document.getElementById("confirm-what").textContent = what;
  document.getElementById("confirm-why").textContent = why;
  document.getElementById("confirm-yes").textContent = yes;
  confirm.returnValue = "no";
  confirm.showModal();
  return new Promise((decided) => confirm.addEventListener("close", () => decided(confirm.returnValue === "yes"), { once: true }));
}

function fact(name, ...value) {
  return make("div", {}, make("dt", { textContent: name }), make("dd", {}, ...value));
}

const words = (text) => text.split(/[\s,]+/).filter((word) => word !== "");

export class Detail {
  #networks;
  #close;
  #shown;
  #drawn;
  #says = make("p", { className: "error", role: "alert" });

  // `close(what)` is called when the panel was closed.
  constructor(networks, close) {
    this.#networks = networks;
    this.#close = close;
    panel.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  // Shows `{ kind, id }`; the kind `new` is the form for a network.
  open(shown) {
    this.#shown = shown;
    this.#says.textContent = "";
    this.#draw();
    panel.hidden = false;
    document.getElementById("networks").classList.add("with-detail");
    panel.querySelector("h2").focus();
  }

  close() {
    const shown = this.#shown;
    this.#shown = this.#drawn = undefined;
    panel.hidden = true;
    document.getElementById("networks").classList.remove("with-detail");
    this.#close(shown);
  }

  // Shows what changed. A panel that would be the same is not touched, so that the words in a form are kept.
  changed() {
    if (this.#shown && this.#shown.kind !== "new" && this.#seen() !== this.#drawn) this.#draw();
  }

  // Everything that the panel shows of the networks.
  #seen() {
    const { kind, id } = this.#shown;
    const { cens, cins, containers } = this.#networks;
    if (kind === "cin") return JSON.stringify(cins.get(id));
    if (kind === "cen") return JSON.stringify([cens.get(id), cins.get(this.#networks.over(id))]);
    const container = containers.get(id);
    return JSON.stringify([container, container?.cens.map((cen) => [this.#networks.stateIn(cen, id), this.#networks.address(cen, id)])]);
  }

  #draw() {
    const { kind, id } = this.#shown;
    const parts = { cen: () => this.#cen(id), cin: () => this.#cin(id), container: () => this.#container(id), new: () => this.#new() }[kind]();
    const focus = panel.contains(document.activeElement) ? document.activeElement.id : undefined;
    const typed = new Map([...panel.querySelectorAll("input")].map((input) => [input.id, input.value]));
    const button = make("button", { type: "button", className: "close", textContent: "Close" });
    button.addEventListener("click", () => this.close());
    const title = kind === "new" ? "New network" : id;
    panel.replaceChildren(make("header", {}, make("h2", { id: "detail-name", tabIndex: -1, textContent: title }), button), ...parts, this.#says);
    this.#drawn = kind === "new" ? undefined : this.#seen();
    for (const input of panel.querySelectorAll("input")) input.value = typed.get(input.id) ?? "";
    if (focus === undefined) return;
    document.getElementById(focus)?.focus();
    // What had it is gone, or cannot be used now.
    if (!panel.contains(document.activeElement)) panel.querySelector("h2").focus();
  }

  #head(what, status) {
    const line = make("p", { className: "detail-state" }, `${what} `, make("span", { className: "pill", textContent: status }));
    line.dataset.state = tone(status);
    return line;
  }

  #gone(what) {
    return [make("p", { className: "detail-state", textContent: `There is no such ${what}.` })];
  }

  #cen(id) {
    const cen = this.#networks.cens.get(id);
    if (!cen) return this.#gone("segment");
    const cin = this.#networks.over(id);
    const facts = [fact("Wiring", { bus: "a bridge", wire: "one wire between two containers" }[cen.wire_type] ?? "not needed")];
    if (cin) facts.push(fact("IP network", this.#link("cin", cin)));
    if (cen.missing) facts.push(fact("Missing", cen.missing.join(", ")));
    return [
      this.#head("Segment (CEN)", cen.status),
      ...this.#error(cen),
      make("dl", { className: "facts" }, ...facts),
      make("h3", { textContent: `Containers (${cen.contIDs.length})` }),
      make("ul", { className: "members" }, ...cen.contIDs.map((member) => this.#member(id, member))),
      this.#join(id),
      this.#actions("cen", id, cen.status, cen.contIDs),
    ];
  }

  #cin(id) {
    const cin = this.#networks.cins.get(id);
    if (!cin) return this.#gone("network");
    const rows = cin.conts.map(({ contID, addressing }) => {
      const [{ ip, interface: name }] = Object.values(addressing);
      return make("li", {}, this.#link("container", contID), make("span", { textContent: ip }), make("span", { className: "quiet", textContent: name }));
    });
    return [
      this.#head("IP network (CIN)", cin.status),
      ...this.#error(cin),
      make("dl", { className: "facts" }, fact("Network", `10.${cin.ip_b}.0.0/16`), fact("Segments", ...cin.cenIDs.map((cen) => this.#link("cen", cen)))),
      make("h3", { textContent: `Addresses (${rows.length})` }),
      make("ul", { className: "members" }, ...rows),
      this.#actions("cin", id, cin.status, cin.contIDs),
    ];
  }

  #container(id) {
    const container = this.#networks.containers.get(id);
    if (!container) return this.#gone("container");
    const rows = container.cens.map((cen, n) => {
      const address = this.#networks.address(cen, id) ?? "no address";
      const end = make("span", { className: "quiet", textContent: `${id}.${container.reservedIdNums[n]}` });
      return make("li", {}, this.#link("cen", cen), make("span", { textContent: address }), end);
    });
    const forget = this.#button("do-remove", "Remove from all", "danger", async () => {
      const why = `It leaves ${container.cens.join(", ") || "no segment"}, and its definition is removed. The container itself is not stopped.`;
      if (await ask(`Remove ${id}?`, why, "Remove")) await api.forget(container.hostID, id);
    });
    return [
      this.#head("Container", { wired: "wired", missing: "missing", idle: "not wired" }[this.#networks.state(id)]),
      make("dl", { className: "facts" }, fact("Host", container.hostID), fact("Tag", container.tag ?? "none")),
      make("h3", { textContent: `Interfaces (${rows.length})` }),
      make("ul", { className: "members" }, ...rows),
      make("div", { className: "buttons" }, forget),
    ];
  }

  #error({ last_error: error }) {
    return error ? [make("p", { className: "last-error", textContent: `The last operation failed: ${error.message}` })] : [];
  }

  #link(kind, id) {
    const button = make("button", { type: "button", className: "link", textContent: id });
    button.addEventListener("click", () => panel.dispatchEvent(new CustomEvent("show", { detail: { kind, id } })));
    return button;
  }

  #member(cen, id) {
    const leave = this.#button(`leave-${id}`, "Remove", "small", async () => {
      const why = this.#networks.stateIn(cen, id) === "wired" ? "Its interface in the segment is deleted." : "Nothing on the host changes.";
      if (await ask(`Remove ${id} from ${cen}?`, why, "Remove")) await api.leave(this.#networks.host, id, cen);
    });
    leave.setAttribute("aria-label", `Remove ${id}`);
    return make("li", {}, this.#link("container", id), make("span", { textContent: this.#networks.address(cen, id) ?? "" }), leave);
  }

  #join(cen) {
    const input = make("input", { id: "join", className: "field", autocomplete: "off", spellcheck: false, required: true });
    const form = make("form", { className: "join" }, make("label", { htmlFor: "join", textContent: "Add a container" }), input, make("button", { type: "submit", className: "command", textContent: "Add" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#work(form, async () => {
        for (const container of words(input.value)) await api.join(this.#networks.host, container, cen);
        document.getElementById("join").value = "";
      });
    });
    return form;
  }

  // Make, destroy and delete, as the status lets.
  #actions(kind, id, status, members) {
    const cut = members.length > 0 ? `This interrupts the traffic of ${members.join(", ")}.` : "It has no containers.";
    const harm = status === "ready" ? cut : "Nothing of it is on the host.";
    const destroy = async () => (await ask(`Destroy ${id}?`, `${cut} The definition stays.`, "Destroy")) && api.destroy(kind, id);
    const remove = async () => (await ask(`Delete ${id}?`, `${harm} The definition is removed.`, "Delete")) && api.remove(kind, id);
    const buttons = [];
    if (status !== "ready") buttons.push(this.#button("do-make", "Make", "command", () => api.make(kind, id)));
    if (status === "ready" || status === "failed") buttons.push(this.#button("do-destroy", "Destroy", "danger", destroy));
    buttons.push(this.#button("do-delete", "Delete", "danger", remove));
    for (const button of buttons) button.disabled = status === "preparing" || status === "destroying";
    return make("div", { className: "buttons" }, ...buttons);
  }

  #new() {
    const field = (id, label, hint, required) => [
      make("label", { htmlFor: id, textContent: label }),
      make("input", { id, className: "field", required, autocomplete: "off", spellcheck: false }),
      make("p", { className: "hint quiet", textContent: hint }),
    ];
    const form = make(
      "form",
      { className: "new" },
      ...field("new-cen", "Segment (CEN)", "The name of the bridge, and of the interface in each container; at most 15 characters.", true),
      ...field("new-members", "Containers", "Ids, separated by spaces.", false),
      ...field("new-cin", "IP network (CIN)", "If it is named, the containers get addresses.", false),
      make("div", { className: "buttons" }, make("button", { type: "submit", className: "command", textContent: "Make" })),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#work(form, () => this.#create());
    });
    return [form];
  }

  async #create() {
    const value = (id) => document.getElementById(id).value.trim();
    const [cen, cin, members] = [value("new-cen"), value("new-cin"), words(value("new-members"))];
    // An import would change what is there.
    if (this.#networks.cens.has(cen)) throw new Error(`${cen} exists already: open it to add containers.`);
    if (cin && this.#networks.cins.has(cin)) throw new Error(`${cin} exists already.`);
    await api.defineCen(cen, members);
    await api.make("cen", cen);
    if (cin) {
      await api.defineCin(cin, [cen]);
      await api.make("cin", cin);
    }
    panel.dispatchEvent(new CustomEvent("show", { detail: { kind: "cen", id: cen } }));
  }

  #button(id, text, className, action) {
    const button = make("button", { type: "button", className, textContent: text, id });
    button.addEventListener("click", () => this.#work(button, action));
    return button;
  }

  // Does it, not twice at once, and says what went wrong.
  async #work(source, action) {
    if (source.ariaBusy === "true") return;
    const shown = this.#shown;
    this.#says.textContent = "";
    source.ariaBusy = "true";
    try {
      await action();
    } catch (error) {
      if (this.#shown === shown) this.#says.textContent = error.message;
    } finally {
      source.ariaBusy = "false";
    }
  }
}
