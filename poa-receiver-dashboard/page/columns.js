// The columns of the table. `value` is the sort key, `text` the content, `share` the length of a bar (0 to 100), `tone` a warning
// ("doubt" or "bad"), and `lag` the distance of a block to the highest one.

import { AT_HEAD, FAR_BEHIND, block } from "./agents.js";
import * as format from "./format.js";

const RANK = { inactive: 0, unknown: 1, active: 2 };
const SLOW = 1000;

const nothingLast = (value) => value ?? -Infinity;

// An agent whose node has not reported yet is not "not syncing".
export const syncing = ({ live }) => (live.peers === null ? format.NONE : format.syncing(live.syncing));
const missing = ({ live }) => (live.syncing.on ? live.syncing.highest - live.syncing.current || 1 : live.peers === null ? -1 : 0);

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
    descending: true,
    value: (agent) => agent.seen,
    text: (agent, now) => format.ago(now - agent.seen),
    hint: (agent) => `Last metric or change of state: ${format.moment(agent.seen)}`,
  },
  { ...number("latency", "Latency", (live) => live.latency, format.milliseconds), tone: ({ live }) => (live.latency > SLOW ? "doubt" : "") },
  load("cpu", "CPU", (live) => live.cpu),
  load("memory", "Memory", (live) => live.memory),
  load("disk", "Disk", (live) => live.disk),
  { ...number("peers", "Peers", (live) => live.peers, format.count), tone: ({ live }) => (live.peers === 0 ? "doubt" : "") },
  {
    key: "syncing",
    label: "Syncing",
    descending: true,
    numeric: true,
    value: missing,
    text: syncing,
    tone: ({ live }) => (live.syncing.on ? "doubt" : ""),
  },
  {
    key: "block",
    label: "Block",
    numeric: true,
    descending: true,
    value: (agent) => nothingLast(block(agent)),
    text: (agent) => format.count(block(agent)),
    lag: (agent, agents) => lag(agents.behind(agent)),
  },
];

const HINTS = {
  active: (since) => `Pings since ${since}`,
  inactive: (since) => `Has not pinged since ${since}`,
  unknown: (since) => `Has not pinged since ${since}: its silence would not be detected`,
};

function number(key, label, figure, text) {
  const value = (agent) => nothingLast(figure(agent.live));
  return { key, label, numeric: true, descending: true, value, text: (agent) => text(figure(agent.live)) };
}

function load(key, label, figure) {
  const share = (agent) => Math.round(Math.min(100, Math.max(0, figure(agent.live) ?? 0)));
  return { ...number(key, label, figure, format.percent), share, tone: (agent) => format.loadTone(share(agent)) };
}

// The mark of a block that is behind; empty for one that is not.
export function lag(behind) {
  if (behind === undefined || behind <= AT_HEAD) return { text: "", tone: "", hint: "" };
  const hint = `${format.count(behind)} blocks behind the highest one that any agent of this network knows`;
  return { text: `−${format.count(behind)}`, tone: behind > FAR_BEHIND ? "bad" : "doubt", hint };
}
