// What the table shows of an agent. `value` is what is sorted by, `text` what is read, `share` fills a bar (0 to 100).

import * as format from "./format.js";

const RANK = { inactive: 0, unknown: 1, active: 2 };
const nothingLast = (value) => value ?? -Infinity;

// An agent whose node has told nothing yet is not "not syncing".
const syncing = ({ live }) => (live.peers === null ? format.NONE : format.syncing(live.syncing));
const behind = ({ live }) => (live.syncing.on ? live.syncing.highest - live.syncing.current || 1 : live.peers === null ? -1 : 0);

export const COLUMNS = [
  { key: "agent", label: "Agent", value: (agent) => agent.id.toLowerCase(), text: (agent) => agent.id },
  {
    key: "state",
    label: "State",
    value: (agent) => RANK[agent.state] * 1e15 - agent.since,
    text: (agent, now) => `${agent.state} ${format.span(now - agent.since)}`,
    hint: (agent) => HINTS[agent.state](format.moment(agent.since)),
  },
  {
    key: "seen",
    label: "Last seen",
    downwards: true,
    value: (agent) => agent.seen,
    text: (agent, now) => format.ago(now - agent.seen),
    hint: (agent) => `Last metric or change of state: ${format.moment(agent.seen)}`,
  },
  number("latency", "Latency", (live) => live.latency, format.milliseconds),
  number("cpu", "CPU", (live) => live.cpu, format.percent, true),
  number("memory", "Memory", (live) => live.memory, format.percent, true),
  number("disk", "Disk", (live) => live.disk, format.percent, true),
  number("peers", "Peers", (live) => live.peers, format.count),
  { key: "syncing", label: "Syncing", downwards: true, numeric: true, value: behind, text: syncing },
  number("block", "Block", (live) => live.block.number ?? live.syncing.current, format.count),
];

const HINTS = {
  active: (since) => `Pings since ${since}`,
  inactive: (since) => `Does not ping since ${since}`,
  unknown: (since) => `Has not pinged since ${since}: nobody would notice if it fell silent`,
};

function number(key, label, figure, text, bar = false) {
  return {
    key,
    label,
    numeric: true,
    downwards: true,
    value: (agent) => nothingLast(figure(agent.live)),
    text: (agent) => text(figure(agent.live)),
    share: bar ? (agent) => figure(agent.live) : undefined,
  };
}
