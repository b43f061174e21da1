// All agents, as of the last update of the server.

import { Rate } from "./rate.js";

// A block this recent counts as the head: blocks take a moment to propagate and to be reported.
export const AT_HEAD = 1;
// Beyond this distance, propagation does not explain the delay.
export const FAR_BEHIND = 5;

export class Agents {
  known = new Map();
  rate = new Rate();
  // The difference between the server's clock and this one.
  #ahead = 0;
  #heads = new Map();

  // The server's time now.
  now() {
    return Date.now() + this.#ahead;
  }

  // Applies an update of the server. Returns the agents that became inactive.
  apply({ now, metrics, whole, agents, gone }) {
    this.#ahead = now - Date.now();
    this.rate.count(now, metrics);
    const before = this.known;
    if (whole) this.known = new Map();
    const fallen = agents.filter((agent) => this.#update(agent, before));
    for (const id of gone) this.known.delete(id);
    this.#findHeads();
    return fallen.map((agent) => agent.id);
  }

  #update(agent, before) {
    const old = before.get(agent.id);
    agent.about ??= old?.about;
    // The text that the filter searches. It changes only with the description of the agent.
    agent.words = agent.about === old?.about && old ? old.words : words(agent);
    this.known.set(agent.id, agent);
    return old !== undefined && old.state !== "inactive" && agent.state === "inactive";
  }

  #findHeads() {
    this.#heads = new Map();
    for (const agent of this.known.values()) {
      const highest = Math.max(block(agent) ?? -1, agent.live.syncing.highest ?? -1);
      if (agent.state === "inactive" || highest < 0) continue;
      const head = this.#heads.get(network(agent)) ?? { block: 0, agents: 0 };
      head.agents += 1;
      head.block = Math.max(head.block, highest);
      this.#heads.set(network(agent), head);
    }
  }

  // The highest known block of the network that most agents are in.
  get head() {
    const heads = [...this.#heads.values()];
    return heads.reduce((most, head) => (head.agents > most.agents ? head : most), { agents: 0 }).block;
  }

  // The distance of an agent to the highest block that any agent of its network knows.
  behind(agent) {
    const own = block(agent);
    const head = this.#heads.get(network(agent))?.block;
    return own === null || head === undefined || agent.state === "inactive" ? undefined : Math.max(0, head - own);
  }

  // The number of agents in each state.
  states() {
    const states = { active: 0, inactive: 0, unknown: 0 };
    for (const { state } of this.known.values()) states[state] += 1;
    return states;
  }
}

// The latest block of an agent.
export const block = ({ live }) => live.block.number ?? live.syncing.current;

// Blocks of different networks cannot be compared.
const network = ({ about }) => about?.net ?? "";

function words({ id, about }) {
  return [id, ...Object.values(about ?? {})].filter(Boolean).join(" ").toLowerCase();
}
