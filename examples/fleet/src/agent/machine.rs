//! The machine a node runs on.

use std::f64::consts::TAU;

use fastrand::Rng;
use serde::Serialize;

use crate::seed::{around, bell};

const DAY: f64 = 86_400.0;

/// How fast a load comes back to what is usual at that hour, in seconds.
const MEMORY_OF_LOAD: f64 = 30.0;

/// How fast a chain fills a disk, in percent per second: a few percent a day.
const DISK_GROWTH: f64 = 3.0 / DAY;

#[derive(Debug)]
pub(super) struct Machine {
    rng: Rng,
    /// Percent, on average over the day.
    usual_load: f64,
    /// The second of the day at which it has most to do.
    busiest: f64,
    /// Percent above or below what is usual at that hour.
    deviation: f64,
    /// A fraction of one.
    memory: f64,
    /// Percent.
    disk: f64,
    seen: f64,
}

/// `statistics` of `system_metrics`, in the units agents have always used.
#[derive(Serialize)]
pub(super) struct Statistics {
    /// Percent over all cores.
    cpu_load: f64,
    /// Whole percent.
    disk_usage: u8,
    /// A fraction of one.
    memory_usage: f64,
}

impl Machine {
    pub(super) fn new(mut rng: Rng) -> Self {
        Self {
            usual_load: around(&mut rng, 25.0),
            // Most people are awake at the same time.
            busiest: 14.0 * 3600.0 + 7200.0 * bell(&mut rng),
            deviation: 0.0,
            memory: around(&mut rng, 0.4),
            disk: around(&mut rng, 45.0),
            seen: 0.0,
            rng,
        }
    }

    /// `at` is seconds since the start, `clock` seconds since 1970.
    pub(super) fn statistics(&mut self, at: f64, clock: f64) -> Statistics {
        let seconds = (at - self.seen).max(0.0);
        self.seen = at;
        self.drift(seconds);
        let hour = (clock - self.busiest).rem_euclid(DAY) / DAY;
        let usual = self.usual_load * (1.0 + 0.6 * (TAU * hour).cos());
        Statistics {
            cpu_load: (usual + self.deviation).clamp(0.0, 100.0),
            disk_usage: self.disk as u8,
            memory_usage: self.memory,
        }
    }

    fn drift(&mut self, seconds: f64) {
        let kept = (-seconds / MEMORY_OF_LOAD).exp();
        self.deviation =
            self.deviation * kept + 6.0 * (1.0 - kept * kept).sqrt() * bell(&mut self.rng);
        self.memory = (self.memory + 0.004 * bell(&mut self.rng)).clamp(0.05, 0.97);
        self.disk += DISK_GROWTH * seconds;
        if self.disk >= 96.0 {
            // The disk was cleaned up.
            self.disk = 40.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::derive;

    const MIDNIGHT: f64 = 20_000.0 * DAY;

    fn loads(hour: f64) -> f64 {
        let mut machine = Machine::new(derive(1, "machine", 0));
        machine.busiest = 14.0 * 3600.0;
        let at = |n: i32| f64::from(n) * 10.0;
        let loads =
            (0..300).map(|n| machine.statistics(at(n), MIDNIGHT + hour * 3600.0 + at(n)).cpu_load);
        loads.sum::<f64>() / 300.0
    }

    #[test]
    fn there_is_more_to_do_by_day_than_by_night() {
        assert!(loads(14.0) > 1.5 * loads(2.0), "{} by day, {} by night", loads(14.0), loads(2.0));
    }

    #[test]
    fn everything_stays_in_its_units_for_a_year() {
        let mut machine = Machine::new(derive(1, "machine", 0));
        for hour in 0..24 * 365 {
            let at = f64::from(hour) * 3600.0;
            let read = machine.statistics(at, MIDNIGHT + at);
            assert!((0.0..=100.0).contains(&read.cpu_load));
            assert!((0.0..1.0).contains(&read.memory_usage));
            assert!(read.disk_usage <= 100);
        }
    }
}
