//! What a fleet tells, on the way and at the end.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::tally::Tally;

/// How far a fleet is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Since the fleet began.
    pub elapsed: Duration,
    /// Agents that are there at the moment.
    pub present: u64,
    /// Metrics sent.
    pub sent: u64,
    /// Metrics acknowledged by the server.
    pub acknowledged: u64,
    /// Metrics that the server will never take.
    pub refused: u64,
    /// Attempts beyond the first of a metric.
    pub resent: u64,
    /// Metrics sent, and neither acknowledged nor refused yet.
    pub open: u64,
    /// Metrics acknowledged per second since the last progress.
    pub rate: f64,
    /// Half of the answers since then took no longer.
    pub p50: Duration,
    /// 99 of 100 answers since then took no longer.
    pub p99: Duration,
}

/// What a fleet did in its life. Nothing was lost if [`Summary::all_acknowledged`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// How many agents there were.
    pub agents: usize,
    /// Seconds from the begin to the last answer.
    pub seconds: f64,
    /// Metrics sent.
    pub sent: u64,
    /// Metrics acknowledged by the server.
    pub acknowledged: u64,
    /// Metrics that the server will never take.
    pub refused: u64,
    /// Attempts beyond the first of a metric.
    pub resent: u64,
    /// Metrics that had no answer when the time was over.
    pub unanswered: u64,
    /// Pings the server answered.
    pub pings: u64,
    /// Calls that failed and may succeed later, pings included.
    pub failures: u64,
    /// Metrics acknowledged per second.
    pub rate: f64,
    /// From the attempt that succeeded to its answer.
    pub answer: Latency,
    /// From the moment the metric was due to its answer. What waited for an earlier metric of its agent, or was sent again,
    /// counts in full, so a server that stops for a second shows it here.
    pub total: Latency,
}

/// How long answers took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// On average.
    pub mean: f64,
    /// Half took no longer.
    pub p50: f64,
    /// 90 of 100 took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1000 took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Summary {
    pub(crate) fn new(tally: &Tally, agents: usize, elapsed: Duration) -> Self {
        let spans = tally.spans();
        let (seconds, acknowledged) = (elapsed.as_secs_f64(), tally.acknowledged.get());
        Self {
            agents,
            seconds,
            sent: tally.sent.get(),
            acknowledged,
            refused: tally.refused.get(),
            resent: tally.resent.get(),
            unanswered: tally.open(),
            pings: tally.pings.get(),
            failures: tally.failures.get(),
            rate: acknowledged as f64 / seconds,
            answer: Latency::of(&spans.answer),
            total: Latency::of(&spans.total),
        }
    }

    /// True if the server has acknowledged every metric.
    #[must_use]
    pub const fn all_acknowledged(&self) -> bool {
        self.acknowledged == self.sent
    }
}

impl Latency {
    fn of(micros: &Histogram<u64>) -> Self {
        let millis = |micros: u64| micros as f64 / 1e3;
        let quantile = |q: f64| millis(micros.value_at_quantile(q));
        Self {
            min: millis(micros.min()),
            mean: micros.mean() / 1e3,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: millis(micros.max()),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} s  {} agents  {} sent  {} acknowledged  {} refused  {} resent  {} open  {:.0}/s  p50 {:.1} ms  p99 {:.1} ms",
            self.elapsed.as_secs(),
            self.present,
            self.sent,
            self.acknowledged,
            self.refused,
            self.resent,
            self.open,
            self.rate,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} agents sent {} metrics in {:.1} s: {} acknowledged ({:.0}/s), {} refused, {} unanswered; \
             {} sent again, {} pings, {} failed calls",
            self.agents,
            self.sent,
            self.seconds,
            self.acknowledged,
            self.rate,
            self.refused,
            self.unanswered,
            self.resent,
            self.pings,
            self.failures,
        )?;
        writeln!(f, "answer, ms: {}", self.answer)?;
        write!(f, "since due, ms: {}", self.total)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "min {:.2}  mean {:.2}  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
            self.min, self.mean, self.p50, self.p90, self.p99, self.p999, self.max
        )
    }
}
