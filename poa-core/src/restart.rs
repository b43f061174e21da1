//! The waits between attempts.

use std::collections::VecDeque;
use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::Duration;

/// The retries of deliveries after a transient error: without limit unless `max_age` is set, each wait drawn at random between zero and a
/// maximum that doubles from `initial` to `max`.
///
/// ```
/// use poa_core::{ReceiverOptions, Retry, config::Duration};
///
/// // As an operator writes it in `[receivers.store.retry]`: a reading that is a day old becomes a dead letter.
/// let retry: Retry = serde_json::from_str(r#"{ "max": "5m", "max_age": "1day" }"#)?;
/// assert_eq!(retry.max_age, Some(Duration::from_secs(86_400)));
///
/// let mut options = ReceiverOptions::subscribe(["readings"]);
/// options.retry = retry;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Retry {
    /// The maximum of the first wait.
    pub initial: Duration,
    /// The maximum of the longest wait.
    pub max: Duration,
    /// Messages older than this are not retried but dead-lettered. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(30), max_age: None }
    }
}

impl Retry {
    /// The wait after this many failed attempts beyond the first, drawn at random.
    #[must_use]
    pub fn wait(&self, attempt: u32) -> StdDuration {
        let bound = self.initial.get().saturating_mul(1 << attempt.min(20)).min(self.max.get());
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        StdDuration::from_nanos(fastrand::u64(0..=nanos))
    }
}

/// The wait before the first restart of a plugin; it doubles with each restart that did not help.
const INITIAL: StdDuration = StdDuration::from_millis(100);

/// The longest wait.
const LONGEST: StdDuration = StdDuration::from_secs(30);

/// The most restarts in one period. A plugin that reached the limit waits until the period allows the next start. The supervisor always starts
/// it again: messages for a receiver stay in its backlog.
const INTENSITY: usize = 20;

/// The period.
const PERIOD: StdDuration = StdDuration::from_secs(60);

/// The restarts of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    recent: VecDeque<Instant>,
    fruitless: u32,
}

impl Restarts {
    /// The plugin worked, so its next failure counts as the first.
    pub(crate) fn succeeded(&mut self) {
        self.fruitless = 0;
    }

    /// Counts a restart and returns how long to wait before it.
    pub(crate) fn next_wait(&mut self, now: Instant) -> StdDuration {
        let growing = INITIAL.saturating_mul(1 << self.fruitless.min(20)).min(LONGEST);
        self.fruitless = self.fruitless.saturating_add(1);
        let start = (now + growing).max(self.allowed_from(now));
        self.recent.push_back(start);
        start - now
    }

    /// The time at which the limit allows the next start.
    fn allowed_from(&mut self, now: Instant) -> Instant {
        while self.recent.front().is_some_and(|first| *first + PERIOD <= now) {
            self.recent.pop_front();
        }
        match self.recent.len().checked_sub(INTENSITY) {
            Some(over) => self.recent[over] + PERIOD,
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_until_the_plugin_works() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        let waits: Vec<_> = (0..3).map(|_| restarts.next_wait(now).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400]);
        restarts.succeeded();
        assert_eq!(restarts.next_wait(now).as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_restarts_in_a_period_than_the_intensity() {
        let mut restarts = Restarts::default();
        let begin = Instant::now();
        let mut starts = Vec::new();
        for _ in 0..3 * INTENSITY {
            restarts.succeeded();
            let wait = restarts.next_wait(Instant::now());
            tokio::time::advance(wait).await;
            starts.push(begin.elapsed());
        }
        for window in starts.windows(INTENSITY + 1) {
            assert!(window[INTENSITY] - window[0] >= PERIOD, "{starts:?}");
        }
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let retry = Retry::default();
        for attempt in 0..100 {
            assert!(retry.wait(attempt) <= retry.max.get());
        }
        assert!(retry.wait(0) <= retry.initial.get());
    }
}
