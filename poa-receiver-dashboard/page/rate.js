// How many metrics come in, now and in the last minutes.

// Rates are taken over this time.
const OVER = 10_000;
// How often a rate is noted, and for how long it is kept.
const EVERY = 2_000;
export const KEPT = 240_000;

export class Rate {
  #counted = [];
  // Metrics since the server was started.
  total;
  // `{ at, value }` each, the newest last.
  recent = [];

  // So many metrics had come at this time.
  count(now, metrics) {
    // A count that falls is that of another run of the server.
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

  // Nothing until two counts are known.
  get perSecond() {
    const first = this.#counted[0];
    const last = this.#counted.at(-1);
    return first && last.now > first.now ? ((last.metrics - first.metrics) * 1000) / (last.now - first.now) : undefined;
  }

  // Begins anew: nothing was heard meanwhile.
  forget() {
    this.#counted = [];
  }
}
