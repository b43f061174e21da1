//! The progress and the summary of a fleet.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::tally::Tally;

/// The progress of a fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The time since the start of the fleet.
    pub elapsed: Duration,
    /// The number of agents that are not away.
    pub present: u64,
    /// Metrics sent.
    pub sent: u64,
    /// Metrics acknowledged by the server.
    pub acknowledged: u64,
    /// Metrics refused permanently by the server.
    pub refused: u64,
    /// Attempts beyond the first of a metric.
    pub resent: u64,
    /// Metrics sent, but neither acknowledged nor refused yet.
    pub open: u64,
    /// Metrics acknowledged per second since the last progress.
    pub rate: f64,
    /// The median time of answers since then.
    pub p50: Duration,
    /// The 99th percentile of answers since then.
    pub p99: Duration,
}

/// The results of a fleet. No metric was lost if [`Summary::all_acknowledged`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The number of agents.
    pub agents: usize,
    /// Seconds from the start to the last answer.
    pub seconds: f64,
    /// Metrics sent.
    pub sent: u64,
    /// Metrics acknowledged by the server.
    pub acknowledged: u64,
    /// Metrics refused permanently by the server.
    pub refused: u64,
    /// Attempts beyond the first of a metric.
    pub resent: u64,
    /// Metrics without an answer at the end of the time limit.
    pub unanswered: u64,
    /// Pings the server answered.
    pub pings: u64,
    /// Calls that failed temporarily, pings included.
    pub failures: u64,
    /// Metrics acknowledged per second.
    pub rate: f64,
    /// From the attempt that succeeded to its answer.
    pub answer: Latency,
    /// From the time the metric was due to its answer. It includes the time spent waiting for an earlier metric of the
    /// agent, and repetitions, so a server that stops for a second is visible here.
    pub total: Latency,
}

/// Times of answers, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// On average.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
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
