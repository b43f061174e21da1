// Formats figures. An unknown value is shown as a dash.

export const NONE = "–";

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const few = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const significant = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const fullTime = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

const known = (value) => value !== null && value !== undefined;
const or = (format) => (value) => (known(value) ? format(value) : NONE);

export const count = or((value) => whole.format(value));
export const percent = or((value) => `${value < 9.95 ? few.format(value) : whole.format(value)} %`);
export const milliseconds = or((value) => (value < 1000 ? `${significant.format(value)} ms` : `${significant.format(value / 1000)} s`));
export const gwei = or((wei) => `${significant.format(wei / 1e9)} gwei`);
export const yesOrNo = or((value) => (value ? "yes" : "no"));

const hashUnits = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s"];
export const hashrate = or((value) => {
  const power = Math.min(hashUnits.length - 1, value >= 1000 ? Math.floor(Math.log10(value) / 3) : 0);
  return `${significant.format(value / 1000 ** power)} ${hashUnits[power]}`;
});

// A small rate has a digit after the point.
export const rate = or((value) => (value < 10 ? few.format(value) : whole.format(value)));

const units = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

// A span of time in its largest unit: "12 s", "3 min".
export function span(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [size, name] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${name}`;
}

export const ago = (milliseconds) => (milliseconds < 1500 ? "now" : `${span(milliseconds)} ago`);
export const clock = (time) => clockTime.format(time);
export const moment = (time) => fullTime.format(time);
// A date and time; for today, the time alone.
export const when = (time, now) => (new Date(time).toDateString() === new Date(now).toDateString() ? clock(time) : moment(time));

// The warning level of a load in percent.
export const loadTone = (share) => (share >= 90 ? "bad" : share >= 75 ? "doubt" : "");

// The progress of a node's synchronisation, as text.
export function syncing({ on, current, highest }) {
  if (!on) return "no";
  if (!known(current) || !highest) return "yes";
  const behind = Math.max(0, highest - current);
  return behind === 0 ? "at head" : `${whole.format(behind)} behind`;
}
