// The rate of metrics, now and in the last minutes.

// The time over which a rate is averaged.
const OVER = 10_000;
// The interval between recorded rates, and how long they are kept.
const EVERY = 2_000;
export const KEPT = 240_000;

export class Rate {
  #counted = [];
  // Metrics since the server was started.
  total;
  // `{ at, value }` each, the newest last.
  recent = [];

  // Records the number of metrics at this time.
  count(now, metrics) {
    // A falling count means that the server was restarted.
    if (this.total > metrics) this.forget();
    this.total = metrics;
    this.#counted.push({ now, metrics });
    while (this.#counted.length > 2 && this.#counted[1].now < now - OVER) this.#counted.shift();
    this.#note(now);
  }

  #note(now) {
    const value = this.perSecond;
    if (value === undefined || now < (this.recent.at(-1)?.at ?? 0) + EVERY) return;
    this.recent.push({ at: now, value });
    while (this.recent[0].at < now - KEPT) this.recent.shift();
  }

  // Undefined until two counts are known.
  get perSecond() {
    const first = this.#counted[0];
    const last = this.#counted.at(-1);
    return first && last.now > first.now ? ((last.metrics - first.metrics) * 1000) / (last.now - first.now) : undefined;
  }

  // Starts again after a gap.
  forget() {
    this.#counted = [];
  }
}
