//! Recent failures to log in, and their effect on the next attempt.

use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

/// Failures without a wait: users mistype.
const FREE: u32 = 3;
/// The wait after the first failure beyond those; it doubles with each.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait of an address that failed for a name.
const LONGEST: Duration = Duration::from_secs(5);
/// The interval at which a name under attack is checked for addresses that have not failed for it.
const FRESH: Duration = Duration::from_millis(250);
/// The interval for addresses that have failed for it.
const REPEATED: Duration = Duration::from_secs(1);
/// Failures older than this are forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// The most names, and the most addresses, that are remembered. Evicting one costs a guesser as many
/// hashes.
const REMEMBERED: usize = 8192;

/// The order in which attempts are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// On behalf of an admin who is logged in.
    Urgent,
    /// No recent failure from this address.
    Clean,
    /// Failures from this address, but not for this name.
    Suspect,
    /// Failures of this address for this name.
    Failed,
}

#[derive(Clone, Copy)]
struct Record {
    failures: u32,
    last: Instant,
}

impl Record {
    fn wait(&self) -> Duration {
        match self.failures.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(counted) => FIRST.saturating_mul(1 << counted.min(16)).min(LONGEST),
        }
    }
}

/// The attempts for which a name was checked.
#[derive(Clone, Copy, Default)]
struct Looks {
    fresh: Option<Instant>,
    repeated: Option<Instant>,
}

pub(crate) struct Failures {
    names: Cache<String, Record>,
    addresses: Cache<IpAddr, Record>,
    pairs: Cache<(String, IpAddr), Record>,
    looks: Cache<String, Looks>,
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self {
            names: Cache::new(REMEMBERED),
            addresses: Cache::new(REMEMBERED),
            pairs: Cache::new(REMEMBERED),
            looks: Cache::new(REMEMBERED),
        }
    }

    pub(crate) fn failed(&self, name: &str, from: IpAddr) {
        let pair = (name.to_owned(), from);
        self.names.insert(name.to_owned(), next(self.names.get(name)));
        self.addresses.insert(from, next(self.addresses.get(&from)));
        self.pairs.insert(pair.clone(), next(self.pairs.get(&pair)));
    }

    pub(crate) fn succeeded(&self, name: &str, from: IpAddr) {
        self.names.remove(name);
        self.addresses.remove(&from);
        self.pairs.remove(&(name.to_owned(), from));
    }

    /// Records that a password for this name is about to be checked.
    pub(crate) fn looked_at(&self, name: &str, from: IpAddr) {
        if !self.is_guessed_at(name) {
            return;
        }
        let mut looks = self.looks.get(name).unwrap_or_default();
        match self.pair(name, from) {
            None => looks.fresh = Some(Instant::now()),
            Some(_) => looks.repeated = Some(Instant::now()),
        }
        self.looks.insert(name.to_owned(), looks);
    }

    /// Whether attempts for this name have to wait.
    pub(crate) fn is_guessed_at(&self, name: &str) -> bool {
        recent(self.names.get(name)).is_some_and(|record| record.failures >= FREE)
    }

    pub(crate) fn rank(&self, name: &str, from: IpAddr) -> Rank {
        if self.pair(name, from).is_some() {
            Rank::Failed
        } else if recent(self.addresses.get(&from)).is_some() {
            Rank::Suspect
        } else {
            Rank::Clean
        }
    }

    /// The time at which a password for this name, presented from this address, may be checked.
    pub(crate) fn due(&self, name: &str, from: IpAddr) -> Option<Instant> {
        let record = recent(self.names.get(name)).filter(|record| record.failures >= FREE)?;
        let looks = self.looks.get(name).unwrap_or_default();
        let (last, gap, own) = match self.pair(name, from) {
            None => (looks.fresh, FRESH, None),
            Some(pair) => (looks.repeated, REPEATED, Some(pair.last + pair.wait())),
        };
        last.map(|last| last + gap.min(record.wait())).max(own)
    }

    fn pair(&self, name: &str, from: IpAddr) -> Option<Record> {
        recent(self.pairs.get(&(name.to_owned(), from)))
    }
}

fn recent(record: Option<Record>) -> Option<Record> {
    record.filter(|record| record.last.elapsed() <= FORGET)
}

fn next(record: Option<Record>) -> Record {
    let failures = recent(record).map_or(0, |record| record.failures);
    Record { failures: failures.saturating_add(1), last: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn wait(failures: &Failures, name: &str, from: IpAddr) -> u128 {
        let now = Instant::now();
        failures.due(name, from).map_or(0, |due| due.saturating_duration_since(now).as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_of_an_address_doubles_with_each_failure_up_to_a_limit() {
        let failures = Failures::new();
        let mut seen = Vec::new();
        for _ in 0..12 {
            seen.push(wait(&failures, "alice", AWAY));
            failures.failed("alice", AWAY);
        }
        assert_eq!(seen, [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!((wait(&failures, "bob", AWAY), wait(&failures, "alice", HOME)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_checked_a_few_times_a_second_from_all_addresses_together() {
        let failures = Failures::new();
        (0..20).for_each(|_| failures.failed("alice", AWAY));
        failures.looked_at("alice", HOME);
        assert_eq!(wait(&failures, "alice", HOME), FRESH.as_millis());
        // Another address does not share the wait of the first, but the pace of those that failed.
        let other = IpAddr::from([192, 0, 2, 3]);
        failures.failed("alice", other);
        failures.looked_at("alice", AWAY);
        assert_eq!(wait(&failures, "alice", other), REPEATED.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_failed_come_after_those_that_did_not() {
        let failures = Failures::new();
        failures.failed("alice", AWAY);
        assert_eq!(failures.rank("alice", AWAY), Rank::Failed);
        assert_eq!(failures.rank("bob", AWAY), Rank::Suspect);
        assert_eq!(failures.rank("alice", HOME), Rank::Clean);
        tokio::time::advance(FORGET + Duration::from_secs(1)).await;
        assert_eq!(failures.rank("alice", AWAY), Rank::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn success_and_time_clear_failures() {
        let failures = Failures::new();
        (0..20).for_each(|_| failures.failed("alice", AWAY));
        failures.succeeded("alice", AWAY);
        assert_eq!((wait(&failures, "alice", AWAY), failures.is_guessed_at("alice")), (0, false));
        (0..20).for_each(|_| failures.failed("alice", AWAY));
        tokio::time::advance(FORGET + Duration::from_secs(1)).await;
        failures.failed("alice", AWAY);
        assert_eq!(wait(&failures, "alice", AWAY), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_limited_however_many_names_fail() {
        let failures = Failures::new();
        (0..REMEMBERED * 3).for_each(|name| failures.failed(&name.to_string(), AWAY));
        assert!(failures.names.len() <= REMEMBERED && failures.pairs.len() <= REMEMBERED);
    }
}
