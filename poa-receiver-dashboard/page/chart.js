// A small chart of figures over time.

/* global uPlot */

const HEIGHT = 112;
// The possible distances between the marks of an axis of whole numbers.
const WHOLE = [1, 2, 5].flatMap((step) => Array.from({ length: 15 }, (_, power) => step * 10 ** power)).sort((a, b) => a - b);
// The same for times, in seconds.
const TIMES = [10, 30, 60, 120, 300, 600];
const SYNC = uPlot.sync("detail");

const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

// Draws into `place`. `lines` are `{ label, colour, format }`; `range` fixes the values shown, `unit` follows them.
// `whole` marks values that are whole numbers.
export class Chart {
  #plot;
  #place;

  constructor(place, lines, { range, whole, unit = "" } = {}) {
    this.#place = place;
    const values = axis({ size: 58, space: 24, incrs: whole ? WHOLE : undefined, values: figures(unit) });
    const options = {
      width: this.#width(),
      height: HEIGHT,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC.key }, y: false, points: { size: 6 } },
      scales: { y: range ? { range } : { range: around } },
      axes: [axis({ space: 56, size: 24, incrs: TIMES, values: times }), values],
      series: [{}, ...lines.map((line) => series(line, lines.length === 1))],
    };
    this.#plot = new uPlot(options, [[], ...lines.map(() => [])], place);
    this.#observer.observe(place);
  }

  #observer = new ResizeObserver(() => this.#plot.setSize({ width: this.#width(), height: HEIGHT }));

  #width() {
    return Math.max(160, this.#place.clientWidth);
  }

  show(columns, from, to) {
    this.#plot.batch(() => {
      this.#plot.setData(columns, false);
      this.#plot.setScale("x", { min: from, max: to });
    });
  }

  remove() {
    this.#observer.disconnect();
    this.#plot.destroy();
  }
}

function series({ label, colour: name }, alone) {
  const stroke = colour(name);
  const points = { show: false, filter: lone, size: 4, fill: stroke };
  return { label, stroke, width: 1.75, fill: alone ? `${stroke}1c` : undefined, spanGaps: false, points };
}

// A figure without neighbours makes no line, so it is drawn as a point.
export function lone({ data }, n) {
  const known = (index) => data[n][index] !== null && data[n][index] !== undefined;
  const found = [...data[n].keys()].filter((index) => known(index) && !known(index - 1) && !known(index + 1));
  return found.length > 0 ? found : null;
}

function axis(more) {
  const lines = { stroke: colour("--line"), width: 1 };
  return { stroke: colour("--quiet"), font: "11px system-ui, sans-serif", grid: lines, ticks: { show: false }, gap: 4, ...more };
}

// Hours and minutes: the date is today's, or last night's.
function times(_plot, ticks) {
  const short = { hour: "2-digit", minute: "2-digit" };
  const clock = new Intl.DateTimeFormat("en-GB", ticks.length > 1 && ticks[1] - ticks[0] < 60 ? { ...short, second: "2-digit" } : short);
  return ticks.map((tick) => clock.format(tick * 1000));
}

function figures(unit) {
  return (_plot, ticks) => ticks.map((tick) => new Intl.NumberFormat("en-GB").format(tick) + unit);
}

// A constant line is drawn in the middle, so that rounding does not look like noise.
function around(_plot, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.02, 0.5);
  return [Math.max(low >= 0 ? 0 : -Infinity, low - room), high + room];
}
