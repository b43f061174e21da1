//! How often the services and slots of nodes are called lately, how long they take, and how often they fail; by topic.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use poa_gilmour::Kind;
use serde::Serialize;
use tokio::time::Instant;

use crate::definition::plural;

/// "Lately" is between one and two of these.
const SPAN: Duration = Duration::from_secs(10);
/// Rates of less than a second say nothing.
const LEAST: Duration = Duration::from_secs(1);
/// The shortest time that is told from shorter ones: 2^6 µs.
const FIRST: u32 = 6;
/// Two for each doubling of the time, up to more than an hour.
const BUCKETS: usize = 2 * (32 - FIRST as usize);

/// The calls of one topic.
#[derive(Debug, Default)]
pub(crate) struct Traffic(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    calls: u64,
    failed: u64,
    /// Absent until the first call, since most topics are idle.
    recent: Option<Box<Recent>>,
}

#[derive(Debug)]
struct Recent {
    first: Instant,
    begin: Instant,
    now: Tally,
    before: Tally,
}

#[derive(Clone, Debug)]
struct Tally {
    calls: u32,
    failed: u32,
    took: [u32; BUCKETS],
}

/// A call under way. One that is dropped before its end counts as failed: its time was over.
pub(crate) struct Running<'a> {
    traffic: &'a Traffic,
    begin: Instant,
    ended: bool,
}

/// The figures of a topic, or of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Since the server started.
    pub(crate) calls: u64,
    /// Of those, with a code from 300.
    pub(crate) failed: u64,
    /// Lately, per second.
    pub(crate) rate: f64,
    /// Of those, with a code from 300.
    pub(crate) failing: f64,
    /// Half of the recent calls took at most this many milliseconds; 99 of 100 at most the other.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Traffic {
    pub(crate) fn begin(&self) -> Running<'_> {
        Running { traffic: self, begin: Instant::now(), ended: false }
    }

    fn count(&self, took: Duration, failed: bool) {
        let now = Instant::now();
        let mut counted = self.0.lock();
        counted.calls += 1;
        counted.failed += u64::from(failed);
        let recent = counted.recent.get_or_insert_with(|| Box::new(Recent::new(now)));
        recent.turn(now);
        recent.now.calls = recent.now.calls.saturating_add(1);
        recent.now.failed = recent.now.failed.saturating_add(failed.into());
        let bucket = &mut recent.now.took[bucket(took)];
        *bucket = bucket.saturating_add(1);
    }

    fn add_to(&self, sum: &mut Sum) {
        let now = Instant::now();
        let mut counted = self.0.lock();
        sum.calls += counted.calls;
        sum.failed += counted.failed;
        let Some(recent) = &mut counted.recent else { return };
        recent.turn(now);
        let covered = (SPAN + (now - recent.begin)).min(now - recent.first).max(LEAST);
        for tally in [&recent.before, &recent.now] {
            sum.rate += f64::from(tally.calls) / covered.as_secs_f64();
            sum.failing += f64::from(tally.failed) / covered.as_secs_f64();
            for (sum, count) in sum.took.iter_mut().zip(&tally.took) {
                *sum += u64::from(*count);
            }
        }
    }
}

impl Running<'_> {
    pub(crate) fn end(mut self, failed: bool) {
        self.ended = true;
        self.traffic.count(self.begin.elapsed(), failed);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.traffic.count(self.begin.elapsed(), true);
        }
    }
}

impl Recent {
    fn new(now: Instant) -> Self {
        Self { first: now, begin: now, now: Tally::NONE, before: Tally::NONE }
    }

    /// Leaves behind what was not lately.
    fn turn(&mut self, now: Instant) {
        let passed = now - self.begin;
        if passed >= SPAN * 2 {
            (self.before, self.now, self.begin) = (Tally::NONE, Tally::NONE, now);
        } else if passed >= SPAN {
            self.before = std::mem::replace(&mut self.now, Tally::NONE);
            self.begin += SPAN;
        }
    }
}

impl Tally {
    const NONE: Self = Self { calls: 0, failed: 0, took: [0; BUCKETS] };
}

/// Of several topics.
#[derive(Debug)]
struct Sum {
    calls: u64,
    failed: u64,
    rate: f64,
    failing: f64,
    took: [u64; BUCKETS],
}

impl Sum {
    const NONE: Self = Self { calls: 0, failed: 0, rate: 0.0, failing: 0.0, took: [0; BUCKETS] };

    fn figures(&self) -> Figures {
        let Self { calls, failed, rate, failing, .. } = *self;
        Figures { calls, failed, rate, failing, p50: self.quantile(50), p99: self.quantile(99) }
    }

    /// So many of a hundred took at most this long, in milliseconds.
    fn quantile(&self, percent: u64) -> Option<f64> {
        let all: u64 = self.took.iter().sum();
        let mut left = (all * percent).div_ceil(100);
        let place = self.took.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        place.filter(|_| all > 0).map(upper)
    }
}

/// The bucket of a time.
fn bucket(took: Duration) -> usize {
    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1 << FIRST);
    let doublings = micros.ilog2();
    let half = (micros >> (doublings - 1)) & 1;
    ((doublings - FIRST) * 2 + half) as usize
}

/// The longest time in a bucket, in milliseconds.
fn upper(bucket: usize) -> f64 {
    let halves = [1.5, 2.0][bucket % 2];
    let doublings = FIRST + u32::try_from(bucket / 2).unwrap_or(0);
    f64::from(1_u32 << doublings) * halves / 1000.0
}

/// The traffic of all topics that nodes serve.
#[derive(Debug, Default)]
pub(crate) struct Topics(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    topics: BTreeMap<(&'static str, String), Weak<Traffic>>,
    /// How many there were when those without a node were last removed.
    kept: usize,
}

/// A topic, and its figures.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// `services` or `slots`.
    kind: &'static str,
    topic: String,
    #[serde(flatten)]
    figures: Figures,
}

/// Topics to show.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) shown: Vec<Shown>,
    /// How many satisfy the filter in all.
    pub(crate) matching: usize,
    /// All topics together.
    pub(crate) total: Figures,
}

impl Topics {
    /// That of a topic. It is known for as long as anything holds it.
    pub(crate) fn of(&self, kind: Kind, topic: &str) -> Arc<Traffic> {
        let mut known = self.0.lock();
        if known.topics.len() > 2 * known.kept + 64 {
            known.topics.retain(|_, traffic| traffic.strong_count() > 0);
            known.kept = known.topics.len();
        }
        let place = known.topics.entry((plural(kind), topic.to_owned())).or_default();
        place.upgrade().unwrap_or_else(|| {
            let traffic = Arc::<Traffic>::default();
            *place = Arc::downgrade(&traffic);
            traffic
        })
    }

    /// The first of those whose name contains this.
    pub(crate) fn list(&self, contains: &str, most: usize) -> List {
        let known: Vec<_> = {
            let known = self.0.lock();
            let living = |(key, traffic): (&(_, String), &Weak<Traffic>)| {
                Some((key.0, key.1.clone(), traffic.upgrade()?))
            };
            known.topics.iter().filter_map(living).collect()
        };
        let (mut total, mut shown, mut matching) = (Sum::NONE, Vec::new(), 0);
        for (kind, topic, traffic) in known {
            traffic.add_to(&mut total);
            if !topic.contains(contains) {
                continue;
            }
            matching += 1;
            if shown.len() < most {
                let mut sum = Sum::NONE;
                traffic.add_to(&mut sum);
                shown.push(Shown { kind, topic, figures: sum.figures() });
            }
        }
        List { shown, matching, total: total.figures() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(topics: &Topics, topic: &str) -> Figures {
        let list = topics.list(topic, 10);
        list.shown.into_iter().find(|shown| shown.topic == topic).unwrap().figures
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_has_rates_times_and_failures() {
        let topics = Topics::default();
        let echo = topics.of(Kind::Request, "echo");
        for call in 0..100 {
            let running = echo.begin();
            tokio::time::advance(Duration::from_millis(if call == 0 { 700 } else { 10 })).await;
            running.end(call % 10 == 0);
        }
        let shown = figures(&topics, "echo");
        assert_eq!((shown.calls, shown.failed), (100, 10));
        // 100 in 1.69 s, the first of which is counted at its end.
        assert!((50.0..110.0).contains(&shown.rate), "{shown:?}");
        assert!((shown.failing * 10.0 - shown.rate).abs() < 1e-6, "{shown:?}");
        // 10 ms lie between 8.2 and 12.3 ms.
        assert_eq!((shown.p50, shown.p99), (Some(12.288), Some(12.288)));
        let running = echo.begin();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(running);
        assert_eq!(figures(&topics, "echo").p99, Some(786.432), "one of 101 took longer");
        tokio::time::advance(SPAN * 3).await;
        let later = figures(&topics, "echo");
        assert_eq!((later.calls, later.failed, later.rate, later.p50), (101, 11, 0.0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lately_is_kept_for_one_or_two_spans() {
        let topics = Topics::default();
        let echo = topics.of(Kind::Slot, "log.*");
        for _ in 0..100 {
            echo.begin().end(false);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((figures(&topics, "log.*").rate - 10.0).abs() < 0.5);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!((figures(&topics, "log.*").rate - 100.0 / 15.0).abs() < 0.5);
    }

    #[test]
    fn every_time_has_a_bucket() {
        for (took, longest) in [(0, 0.096), (64, 0.096), (96, 0.128), (1000, 1.024), (1024, 1.536)]
        {
            assert_eq!(upper(bucket(Duration::from_micros(took))), longest, "{took}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn topics_without_a_node_are_forgotten() {
        let topics = Topics::default();
        let kept = topics.of(Kind::Request, "kept");
        for number in 0..1000 {
            drop(topics.of(Kind::Request, &format!("t{number}")));
        }
        assert!(topics.0.lock().topics.len() < 200);
        assert_eq!(topics.list("", 10).matching, 1);
        assert!(Arc::ptr_eq(&kept, &topics.of(Kind::Request, "kept")));
        let _slot = topics.of(Kind::Slot, "kept");
        let list = topics.list("ept", 1);
        assert_eq!((list.matching, list.shown.len()), (2, 1));
    }
}
