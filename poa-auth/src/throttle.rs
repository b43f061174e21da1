//! Slows down those who guess passwords, without locking anybody out.
//!
//! After a few failures for one name, each further attempt for that name waits, and the wait doubles with every failure.
//! Other names are not concerned. Two things keep a stranger from shutting out the owner of a name: no attempt
//! waits longer than [`LONGEST`], and whoever presents the password that was last right for that name does not wait.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::mac::{Mac, Tag};

/// Failures that nobody waits for: people mistype.
const FREE: u32 = 3;
/// The wait after the first failure that counts.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait of any attempt.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);
/// Failures older than this are forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// How many attempts may wait for one name at once.
const WAITING: u32 = 16;
/// How many names are remembered. To push one out costs a guesser as many hashes.
const NAMES: usize = 8192;

/// Too many attempts for one name wait already.
#[derive(Debug)]
pub(crate) struct Crowded;

pub(crate) struct Throttle {
    failures: Cache<String, Arc<Mutex<Record>>>,
    /// By name, the fingerprint of the password that was last right.
    trusted: Cache<String, Arc<Tag>>,
    mac: Mac,
}

struct Record {
    failures: u32,
    last: Instant,
    waiting: u32,
}

impl Record {
    /// When the next attempt may be made.
    fn next(&self) -> Instant {
        match self.failures.checked_sub(FREE) {
            None => self.last,
            Some(counted) => self.last + FIRST.saturating_mul(1 << counted.min(16)).min(LONGEST),
        }
    }
}

/// An attempt that waits; it stops to count when dropped.
struct Waiting(Arc<Mutex<Record>>);

impl Waiting {
    fn begin(record: Arc<Mutex<Record>>) -> Result<Self, Crowded> {
        let mut held = record.lock();
        if held.waiting >= WAITING {
            return Err(Crowded);
        }
        held.waiting += 1;
        drop(held);
        Ok(Self(record))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { failures: Cache::new(NAMES), trusted: Cache::new(NAMES), mac: Mac::new() }
    }

    /// When an attempt with this password may be made, if that is not now.
    pub(crate) fn due(&self, name: &str, password: &str) -> Option<Instant> {
        let next = self.failures.get(name)?.lock().next();
        (next > Instant::now() && !self.trusts(name, password)).then_some(next)
    }

    /// Waits until an attempt may be made, at most until `latest`.
    pub(crate) async fn wait(
        &self,
        name: &str,
        password: &str,
        latest: Instant,
    ) -> Result<(), Crowded> {
        let Some(record) = self.failures.get(name) else { return Ok(()) };
        let mut waiting = None;
        while let Some(due) = self.due(name, password)
            && Instant::now() < latest
        {
            if waiting.is_none() {
                waiting = Some(Waiting::begin(record.clone())?);
            }
            tokio::time::sleep_until(due.min(latest)).await;
        }
        Ok(())
    }

    fn trusts(&self, name: &str, password: &str) -> bool {
        self.trusted.get(name).is_some_and(|tag| self.mac.matches(&tag, password))
    }

    pub(crate) fn failed(&self, name: &str) {
        let now = Instant::now();
        let fresh = || Arc::new(Mutex::new(Record { failures: 0, last: now, waiting: 0 }));
        let record = self
            .failures
            .get_or_insert_with::<_, std::convert::Infallible>(name, || Ok(fresh()))
            .unwrap_or_else(|never| match never {});
        let mut record = record.lock();
        if now.duration_since(record.last) > FORGET {
            record.failures = 0;
        }
        record.failures = record.failures.saturating_add(1);
        record.last = now;
    }

    pub(crate) fn succeeded(&self, name: &str, password: &str) {
        self.failures.remove(name);
        if !self.trusts(name, password) {
            self.trusted.insert(name.to_owned(), Arc::new(self.mac.tag(password)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long an attempt for `name` waits.
    async fn waits(throttle: &Throttle, name: &str, password: &str) -> Duration {
        let begin = Instant::now();
        throttle.wait(name, password, begin + LONGEST).await.unwrap();
        begin.elapsed()
    }

    fn fail(throttle: &Throttle, name: &str, times: u32) {
        for _ in 0..times {
            throttle.failed(name);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_with_each_failure_up_to_a_bound() {
        let throttle = Throttle::new();
        let mut seen = Vec::new();
        for _ in 0..12 {
            seen.push(waits(&throttle, "alice", "x").await.as_millis());
            throttle.failed("alice");
        }
        assert_eq!(seen, [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(waits(&throttle, "bob", "x").await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn success_and_time_forgive() {
        let throttle = Throttle::new();
        fail(&throttle, "alice", 20);
        throttle.succeeded("alice", "right");
        assert_eq!(waits(&throttle, "alice", "x").await, Duration::ZERO);
        fail(&throttle, "alice", 20);
        tokio::time::advance(FORGET + Duration::from_secs(1)).await;
        fail(&throttle, "alice", 1);
        assert_eq!(waits(&throttle, "alice", "x").await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_right_before_does_not_wait_while_others_guess() {
        let throttle = Throttle::new();
        throttle.succeeded("alice", "right");
        fail(&throttle, "alice", 20);
        assert_eq!(waits(&throttle, "alice", "right").await, Duration::ZERO);
        assert_eq!(waits(&throttle, "alice", "wrong").await, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn few_wait_at_once_and_a_dropped_attempt_makes_room() {
        let throttle = Arc::new(Throttle::new());
        fail(&throttle, "alice", 20);
        let wait = |latest| {
            let throttle = throttle.clone();
            async move { throttle.wait("alice", "x", latest).await }
        };
        let latest = Instant::now() + LONGEST;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            waiting.spawn(wait(latest));
        }
        tokio::task::yield_now().await;
        assert!(wait(latest).await.is_err());
        waiting.abort_all();
        while waiting.join_next().await.is_some() {}
        assert!(wait(latest).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_however_many_names_fail() {
        let throttle = Throttle::new();
        for name in 0..NAMES * 3 {
            throttle.failed(&name.to_string());
        }
        assert!(throttle.failures.len() <= NAMES);
    }
}
