// The figures of one agent in the last quarter of an hour, and the gaps between them.

// The server keeps a sample every 10 s; a value in between updates the last sample.
const EVERY = 10;
const KEPT = 900;
// The shortest time that charts show.
const LEAST = 300;

export class Samples {
  #samples = new Map();

  // Applies the server's columns, and keeps older samples that the server no longer has.
  merge(columns) {
    for (const [n, at] of columns.at.entries()) {
      this.#samples.set(at, Object.fromEntries(Object.entries(columns).map(([key, values]) => [key, values[n]])));
    }
  }

  // Applies the current figures of an agent.
  note({ state, since, seen, live }) {
    const last = this.#last();
    if (state === "inactive") {
      if (last && !isSilence(last)) this.#set(Math.max(last.at + 1, Math.floor(since / 1000)), {});
      return;
    }
    const at = Math.floor(seen / 1000);
    const { cpu, memory, disk, latency, peers, pending, block } = live;
    const isNew = !last || at >= last.at + EVERY || isSilence(last);
    this.#set(isNew ? Math.max(at, (last?.at ?? 0) + 1) : last.at, { cpu, memory, disk, latency, peers, pending, block: block.number });
  }

  #set(at, figures) {
    this.#samples.set(at, { at, ...figures });
  }

  #last() {
    return this.#samples.get(Math.max(...this.#samples.keys()));
  }

  // The samples of the last 15 minutes before now, in seconds, oldest first, and the range of time to show.
  recent(now) {
    for (const at of this.#samples.keys()) {
      if (at < now - KEPT) this.#samples.delete(at);
    }
    const samples = withGaps([...this.#samples.values()].sort((a, b) => a.at - b.at));
    const to = Math.max(now, samples.at(-1)?.at ?? 0);
    return { samples, from: Math.max(to - KEPT, Math.min(to - LEAST, samples[0]?.at ?? to)), to };
  }
}

const isSilence = (sample) => Object.values(sample).filter((value) => value !== null && value !== undefined).length === 1;

// Lines are interrupted at a gap: a time without samples much longer than the usual interval.
function withGaps(samples) {
  const steps = samples.slice(1).map(({ at }, n) => at - samples[n].at);
  const usual = steps.toSorted((a, b) => a - b)[(steps.length - 1) >> 1] ?? EVERY;
  const longest = Math.max(3 * EVERY, 2.5 * usual);
  return samples.flatMap((sample, n) => (n > 0 && steps[n - 1] > longest ? [{ at: samples[n - 1].at + 1 }, sample] : [sample]));
}
