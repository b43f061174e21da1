// A small chart of figures over time.

/* global uPlot */

const HEIGHT = 120;
// The steps that the marks of an axis of whole numbers may be apart.
const WHOLE = [1, 2, 5].flatMap((step) => Array.from({ length: 15 }, (_, power) => step * 10 ** power)).sort((a, b) => a - b);
const SYNC = uPlot.sync("detail");

const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

// Draws into `place`. `lines` are `{ label, colour, format }`; `range` fixes the values shown.
// `whole` says that there is nothing between two whole numbers.
export class Chart {
  #plot;
  #place;

  constructor(place, lines, { range, whole } = {}) {
    this.#place = place;
    const options = {
      width: this.#width(),
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC.key }, y: false, points: { size: 6 } },
      scales: { y: range ? { range } : { range: around } },
      axes: [axis({ space: 70, size: 24, values: times }), axis({ size: 64, space: 22, incrs: whole ? WHOLE : undefined, values: figures })],
      series: [{}, ...lines.map((line) => series(line))],
    };
    this.#plot = new uPlot(options, [[], ...lines.map(() => [])], place);
    this.#observer.observe(place);
  }

  #observer = new ResizeObserver(() => this.#plot.setSize({ width: this.#width(), height: HEIGHT }));

  #width() {
    return Math.max(160, this.#place.clientWidth);
  }

  show(columns) {
    this.#plot.setData(columns);
  }

  remove() {
    this.#observer.disconnect();
    this.#plot.destroy();
  }
}

function series({ label, colour: name }) {
  return { label, stroke: colour(name), width: 1.5, spanGaps: false, points: { show: false } };
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

function figures(_plot, ticks) {
  return ticks.map((tick) => new Intl.NumberFormat("en-GB").format(tick));
}

// A line that does not move is drawn in the middle, and does not look like noise.
function around(_plot, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.02, 0.5);
  return [Math.max(low >= 0 ? 0 : -Infinity, low - room), high + room];
}
