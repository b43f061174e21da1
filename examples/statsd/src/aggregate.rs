//! The samples of one agent between two flushes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::line::{Line, Sample};

/// The most series of one agent, and the most members of one set. A client can make both grow, so both have a limit.
const SERIES: usize = 1000;

/// The aggregated samples, in the form in which they are sent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Aggregate {
    counters: BTreeMap<String, f64>,
    gauges: BTreeMap<String, f64>,
    timers: BTreeMap<String, Timer>,
    sets: BTreeMap<String, Members>,
}

/// A distribution.
#[derive(Debug, Serialize)]
struct Timer {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

/// A set, sent as the number of its members.
#[derive(Debug, Default)]
struct Members(BTreeSet<String>);

impl Serialize for Members {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.len() as u64)
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Aggregate {
    /// Adds a sample; false when the limit of series does not allow it.
    pub(crate) fn add(&mut self, line: Line) -> bool {
        let Line { name, sample } = line;
        if !self.has_room_for(&name) {
            return false;
        }
        match sample {
            Sample::Count(count) => *self.counters.entry(name).or_default() += count,
            Sample::Gauge(value) => *self.gauges.entry(name).or_default() = value,
            Sample::GaugeChange(change) => *self.gauges.entry(name).or_default() += change,
            Sample::Timing(value) => self.timers.entry(name).or_default().add(value),
            Sample::Member(member) => return self.sets.entry(name).or_default().add(member),
        }
        true
    }

    fn has_room_for(&self, name: &str) -> bool {
        let Self { counters, gauges, timers, sets } = self;
        let series = counters.len() + gauges.len() + timers.len() + sets.len();
        let known = counters.contains_key(name)
            || gauges.contains_key(name)
            || timers.contains_key(name)
            || sets.contains_key(name);
        known || series < SERIES
    }

    /// Starts the next interval after a flush. Gauges keep their values, because later samples can be relative to them.
    pub(crate) fn reset(&mut self) {
        self.counters.clear();
        self.timers.clear();
        self.sets.clear();
    }
}

impl Timer {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

impl Members {
    fn add(&mut self, member: String) -> bool {
        if self.0.len() < SERIES || self.0.contains(&member) {
            self.0.insert(member);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    fn aggregate(lines: &[&str]) -> Aggregate {
        let mut aggregate = Aggregate::default();
        for line in lines {
            assert!(aggregate.add(Line::parse(line).unwrap()), "{line}");
        }
        aggregate
    }

    #[test]
    fn samples_of_one_series_are_combined() {
        let lines =
            ["a:1|c", "a:2|c", "b:5|g", "b:-1|g", "c:10|ms", "c:30|ms", "d:x|s", "d:y|s", "d:x|s"];
        let expected = json!({
            "counters": {"a": 3.0},
            "gauges": {"b": 4.0},
            "timers": {"c": {"count": 2, "sum": 40.0, "min": 10.0, "max": 30.0}},
            "sets": {"d": 2},
        });
        assert_eq!(to_value(aggregate(&lines)).unwrap(), expected);
    }

    #[test]
    fn gauges_survive_a_flush() {
        let mut aggregate = aggregate(&["a:1|c", "b:5|g"]);
        aggregate.reset();
        assert!(aggregate.add(Line::parse("b:+2|g").unwrap()));
        let expected = json!({"counters": {}, "gauges": {"b": 7.0}, "timers": {}, "sets": {}});
        assert_eq!(to_value(aggregate).unwrap(), expected);
    }

    #[test]
    fn series_and_members_are_limited() {
        let mut aggregate = Aggregate::default();
        let accepted =
            (0..SERIES + 10).filter(|n| aggregate.add(Line::parse(&format!("n{n}:1|c")).unwrap()));
        assert_eq!(accepted.count(), SERIES);
        assert!(aggregate.add(Line::parse("n0:1|c").unwrap()));
        let mut members = Members::default();
        let accepted = (0..SERIES + 10).filter(|n| members.add(n.to_string()));
        assert_eq!(accepted.count(), SERIES);
    }
}
