//! The work of one agent: says what is due, again if need be, and goes away at times.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use poa_agent::{Backoff, CallError, ErrorChain, Metric};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{Absence, Leave, Life, Simulated};
use crate::line::Line;
use crate::seed::around;
use crate::tally::Tally;

/// How long the server may take to hear that an agent leaves.
const BYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Three years, in seconds.
const FOREVER: f64 = 1e8;

/// Seconds since the fleet's start, as instants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    fn now(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn instant(self, at: f64) -> Instant {
        self.0 + Duration::from_secs_f64(at.min(FOREVER))
    }

    fn seconds(self, instant: Instant) -> f64 {
        instant.saturating_duration_since(self.0).as_secs_f64()
    }
}

/// When an agent speaks.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) rng: Rng,
    /// Seconds between messages; 0 without a limit.
    pub(crate) interval: f64,
    /// Seconds between pings; infinite if there are none.
    pub(crate) ping_interval: f64,
    pub(crate) next: f64,
    pub(crate) next_ping: f64,
}

impl Pace {
    /// Begins at `at`, somewhere between two messages and two pings: not all agents speak at once.
    fn begin(&mut self, at: f64) {
        self.next = at + self.interval * self.rng.f64();
        self.next_ping = if self.ping_interval.is_finite() { at } else { f64::INFINITY };
    }

    /// When the message that is to be sent at `now` was due, if one is.
    fn due(&mut self, now: f64) -> Option<f64> {
        if self.next > now {
            return None;
        }
        if self.interval == 0.0 {
            return Some(now);
        }
        let due = self.next;
        self.next += around(&mut self.rng, self.interval);
        Some(due)
    }

    fn ping_is_due(&mut self, now: f64) -> bool {
        let due = self.next_ping <= now;
        if due {
            self.next_ping = now + self.ping_interval;
        }
        due
    }
}

pub(crate) struct Worker {
    pub(crate) simulated: Simulated,
    pub(crate) line: Line,
    pub(crate) life: Life,
    pub(crate) pace: Pace,
    pub(crate) clock: Clock,
    /// Seconds since the fleet's start.
    pub(crate) begin: f64,
    pub(crate) tally: Arc<Tally>,
    pub(crate) backoff: Backoff,
    pub(crate) unsent: Option<Unsent>,
    /// Not away.
    pub(crate) here: bool,
}

/// A metric that the server has not acknowledged.
#[derive(Debug)]
pub(crate) struct Unsent {
    metric: Metric,
    due: Instant,
    tried: bool,
    not_before: Instant,
}

/// The fleet is to come to its end.
#[derive(Debug)]
struct Stopped;

impl Worker {
    /// Works until `stop`, then tries for as long as `grace` to send what is left, and says bye.
    pub(crate) async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let Stopped = self.live(&stop).await;
        let _ = timeout(grace, self.deliver()).await;
        if self.here {
            self.tally.present.subtract();
            self.bye().await;
        }
    }

    async fn live(&mut self, stop: &CancellationToken) -> Stopped {
        let Err(stopped) = self.live_on(stop).await;
        stopped
    }

    async fn live_on(&mut self, stop: &CancellationToken) -> Result<Infallible, Stopped> {
        self.pause(self.begin, stop).await?;
        loop {
            self.here = true;
            self.tally.present.add();
            self.pace.begin(self.clock.now());
            let absence = self.life.next();
            self.work_until(absence.map_or(f64::INFINITY, |absence| absence.from), stop).await?;
            if let Some(absence) = absence {
                self.go_away(absence, stop).await?;
            }
        }
    }

    /// Waits until the time has come, or the fleet is stopped.
    async fn pause(&self, at: f64, stop: &CancellationToken) -> Result<(), Stopped> {
        if stop.is_cancelled() {
            return Err(Stopped);
        }
        if at <= self.clock.now() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(Stopped),
            () = sleep_until(self.clock.instant(at)) => Ok(()),
        }
    }

    async fn work_until(&mut self, leave: f64, stop: &CancellationToken) -> Result<(), Stopped> {
        while self.clock.now() < leave {
            let next = self.next_metric().min(self.pace.next_ping).min(leave);
            self.pause(next, stop).await?;
            if self.pace.ping_is_due(self.clock.now()) {
                self.ping().await;
            }
            if self.next_metric() <= self.clock.now() {
                self.send().await;
            }
        }
        Ok(())
    }

    /// When a metric is to be sent: the one there is, else a new one.
    fn next_metric(&self) -> f64 {
        match &self.unsent {
            Some(unsent) => self.clock.seconds(unsent.not_before),
            None => self.pace.next,
        }
    }

    async fn go_away(&mut self, absence: Absence, stop: &CancellationToken) -> Result<(), Stopped> {
        self.here = false;
        self.tally.present.subtract();
        match absence.leave {
            Leave::Silence => {}
            Leave::Bye => self.bye().await,
            Leave::Crash => self.line.cut().await,
        }
        self.pause(absence.until, stop).await?;
        self.simulated.returned(&absence);
        Ok(())
    }

    async fn ping(&self) {
        match self.line.ping().await {
            Ok(_) => self.tally.pings.add(),
            Err(failure) => self.failed(&failure),
        }
    }

    async fn bye(&self) {
        if let Ok(Err(failure)) = timeout(BYE_TIMEOUT, self.line.bye()).await {
            self.failed(&failure);
        }
    }

    /// Sends what is left, until it is acknowledged or refused.
    async fn deliver(&mut self) {
        while let Some(unsent) = &self.unsent {
            sleep_until(unsent.not_before).await;
            self.send().await;
        }
    }

    /// Tries once to send what there is to be sent, else what is due.
    ///
    /// Cancel safe in that the metric is kept.
    async fn send(&mut self) {
        if self.unsent.is_none() {
            self.unsent = self.pace.due(self.clock.now()).map(|due| self.measure(due));
        }
        let Some(unsent) = &mut self.unsent else { return };
        let counter = if unsent.tried { &self.tally.resent } else { &self.tally.sent };
        counter.add();
        unsent.tried = true;
        let begun = Instant::now();
        match self.line.data(&unsent.metric).await {
            Ok(()) => {
                self.tally.acknowledge(begun.elapsed(), unsent.due.elapsed());
                self.backoff.reset();
                self.unsent = None;
            }
            Err(refusal @ CallError::Rejected { .. }) => {
                tracing::debug!(error = %ErrorChain(&refusal), "a metric was refused");
                self.tally.refused.add();
                self.unsent = None;
            }
            Err(failure) => {
                unsent.not_before = Instant::now() + self.backoff.delay(failure.retry_after());
                self.failed(&failure);
            }
        }
    }

    fn measure(&mut self, due: f64) -> Unsent {
        let metric = self.simulated.measure(due);
        let due = self.clock.instant(due);
        Unsent { metric, due, tried: false, not_before: due }
    }

    /// Logs only the first of many calls that fail alike.
    fn failed(&self, failure: &CallError) {
        self.tally.failures.add();
        let (error, failures) = (ErrorChain(failure), self.tally.failures.get());
        if failures.is_power_of_two() {
            tracing::warn!(agent = self.simulated.id().as_str(), %error, failures, "a call failed");
        }
    }
}
