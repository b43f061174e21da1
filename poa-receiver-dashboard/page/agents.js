// All agents, as the server told last.

// Rates are taken over this time.
const RATE_OVER = 10_000;

export class Agents {
  known = new Map();
  // How far the server's clock is ahead of this one.
  #ahead = 0;
  #counted = [];

  // The server's time now.
  now() {
    return Date.now() + this.#ahead;
  }

  // Takes in a message of the server. Says which agents became inactive.
  apply({ now, metrics, whole, agents, gone }) {
    this.#ahead = now - Date.now();
    this.#count(now, metrics);
    const before = this.known;
    if (whole) this.known = new Map();
    const fallen = agents.filter((agent) => this.#update(agent, before));
    for (const id of gone) this.known.delete(id);
    return fallen.map((agent) => agent.id);
  }

  #update(agent, before) {
    const old = before.get(agent.id);
    agent.about ??= old?.about;
    // What the filter looks for. It changes only when the agent says who it is.
    agent.words = agent.about === old?.about && old ? old.words : words(agent);
    this.known.set(agent.id, agent);
    return old !== undefined && old.state !== "inactive" && agent.state === "inactive";
  }

  #count(now, metrics) {
    // A count that falls is that of another run of the server.
    if (this.#counted.at(-1)?.metrics > metrics) this.#counted = [];
    this.#counted.push({ now, metrics });
    while (this.#counted.length > 2 && this.#counted[1].now < now - RATE_OVER) this.#counted.shift();
  }

  // Metrics since the server was started.
  get metrics() {
    return this.#counted.at(-1)?.metrics;
  }

  // Metrics per second; nothing until two messages told.
  get rate() {
    const first = this.#counted[0];
    const last = this.#counted.at(-1);
    return first && last.now > first.now ? ((last.metrics - first.metrics) * 1000) / (last.now - first.now) : undefined;
  }

  // Rates begin anew: nothing was heard meanwhile.
  forgetRate() {
    this.#counted = [];
  }

  // How many agents are in each state.
  states() {
    const states = { active: 0, inactive: 0, unknown: 0 };
    for (const { state } of this.known.values()) states[state] += 1;
    return states;
  }
}

function words({ id, about }) {
  return [id, ...Object.values(about ?? {})].filter(Boolean).join(" ").toLowerCase();
}
