// All agents, as the server told last.

import { Rate } from "./rate.js";

// Who has told it so lately is at the head: blocks take a moment to come round, and to be told of.
export const AT_HEAD = 1;
// Beyond this, a node has not just missed a moment.
export const FAR_BEHIND = 5;

export class Agents {
  known = new Map();
  rate = new Rate();
  // How far the server's clock is ahead of this one.
  #ahead = 0;
  #heads = new Map();

  // The server's time now.
  now() {
    return Date.now() + this.#ahead;
  }

  // Takes in a message of the server. Says which agents became inactive.
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
    // What the filter looks for. It changes only when the agent says who it is.
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

  // The highest block that is known, of the network that most agents are in.
  get head() {
    const heads = [...this.#heads.values()];
    return heads.reduce((most, head) => (head.agents > most.agents ? head : most), { agents: 0 }).block;
  }

  // How many blocks an agent is behind the highest one that any agent of its network knows.
  behind(agent) {
    const own = block(agent);
    const head = this.#heads.get(network(agent))?.block;
    return own === null || head === undefined || agent.state === "inactive" ? undefined : Math.max(0, head - own);
  }

  // How many agents are in each state.
  states() {
    const states = { active: 0, inactive: 0, unknown: 0 };
    for (const { state } of this.known.values()) states[state] += 1;
    return states;
  }
}

// The block that an agent has got.
export const block = ({ live }) => live.block.number ?? live.syncing.current;

// Blocks of one network say nothing about another.
const network = ({ about }) => about?.net ?? "";

function words({ id, about }) {
  return [id, ...Object.values(about ?? {})].filter(Boolean).join(" ").toLowerCase();
}
