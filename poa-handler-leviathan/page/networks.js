// The networks as the server tells them.

export class Networks {
  host = "this host";
  cens = new Map();
  cins = new Map();
  containers = new Map();
  #addresses = new Map();

  // Takes a frame of the feed: views by id, `null` for what is gone.
  apply(frame) {
    this.host = frame.host;
    for (const kind of ["cens", "cins", "containers"]) {
      if (frame.whole) this[kind].clear();
      for (const [id, view] of Object.entries(frame[kind] ?? {})) {
        if (view === null) this[kind].delete(id);
        else this[kind].set(id, view);
      }
    }
    if (frame.cins) this.#readAddresses();
  }

  #readAddresses() {
    this.#addresses.clear();
    for (const { conts } of this.cins.values()) {
      for (const { contID, addressing } of conts) {
        for (const [cen, { ip }] of Object.entries(addressing)) this.#addresses.set(`${cen} ${contID}`, ip);
      }
    }
  }

  // The address of a container on its interface in a segment.
  address(cen, container) {
    return this.#addresses.get(`${cen} ${container}`);
  }

  // The IP network over a segment.
  over(cen) {
    return [...this.cins.values()].find(({ cenIDs }) => cenIDs.includes(cen))?.cinID;
  }

  // Groups of segments: one for each IP network, then those without addresses.
  frames() {
    const order = (one, other) => one.localeCompare(other, "en", { numeric: true });
    const covered = new Set();
    const frames = [...this.cins.values()].map(({ cinID, cenIDs }) => {
      const cens = cenIDs.filter((cen) => this.cens.has(cen));
      for (const cen of cens) covered.add(cen);
      return { key: `cin ${cinID}`, cin: cinID, cens };
    });
    frames.sort((one, other) => order(one.cin, other.cin));
    const rest = [...this.cens.keys()].filter((cen) => !covered.has(cen)).sort(order);
    return [...frames, { key: "rest", cin: undefined, cens: rest }];
  }

  // `wired`, `missing` when the container does not run, or `idle` when it has no interface in the segment.
  stateIn(cenId, container) {
    const cen = this.cens.get(cenId);
    if (cen?.missing?.includes(container)) return "missing";
    return cen?.status === "ready" && cen.contIDs.length > 1 ? "wired" : "idle";
  }

  // The worst state of a container in all its segments.
  state(container) {
    const cens = this.containers.get(container)?.cens ?? [];
    const states = new Set(cens.map((cen) => this.stateIn(cen, container)));
    return ["missing", "wired"].find((state) => states.has(state)) ?? "idle";
  }

  // How many of each kind are up, in between, and not well.
  totals() {
    const count = (states) => {
      const all = [...states];
      const up = all.filter((state) => state === "ready" || state === "wired").length;
      const bad = all.filter((state) => state === "failed" || state === "missing").length;
      return { all: all.length, up, bad, between: all.length - up - bad };
    };
    return {
      cens: count([...this.cens.values()].map(({ status }) => status)),
      cins: count([...this.cins.values()].map(({ status }) => status)),
      containers: count([...this.containers.keys()].map((id) => this.state(id))),
    };
  }
}
