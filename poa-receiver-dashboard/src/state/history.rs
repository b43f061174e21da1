//! The figures of an agent in the last quarter of an hour.

use std::collections::VecDeque;

use poa_core::Timestamp;
use serde::Serialize;

use super::view::Live;
use crate::read::Figure;

/// The time between samples, in seconds.
const EVERY: u64 = 10;
/// The number of samples: a quarter of an hour.
const KEPT: usize = 90;

/// The last samples of one agent, oldest first; a sample without figures marks the start of a silence. At most 4 KiB.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<Sample>);

/// The figures at one time; NaN if unknown.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Seconds since 1970.
    at: u64,
    block: f64,
    cpu: f32,
    memory: f32,
    disk: f32,
    latency: f32,
    peers: f32,
    pending: f32,
}

/// Samples as columns, the format of the charts.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Columns {
    at: Vec<u64>,
    block: Vec<Option<f64>>,
    cpu: Vec<Option<f32>>,
    memory: Vec<Option<f32>>,
    disk: Vec<Option<f32>>,
    latency: Vec<Option<f32>>,
    peers: Vec<Option<f32>>,
    pending: Vec<Option<f32>>,
}

impl History {
    /// Records current figures: as a new sample, or as an update of the last one.
    pub(crate) fn note(&mut self, at: Timestamp, live: &Live) {
        let mut sample = Sample::of(seconds(at), live);
        match self.0.back_mut() {
            Some(last) if sample.at < last.at + EVERY && !last.is_silence() => {
                sample.at = last.at;
                *last = sample;
            }
            _ => self.push(sample),
        }
    }

    /// Records that the agent is silent from now on, so that no line connects its last figures to the next ones.
    pub(crate) fn fall_silent(&mut self, at: Timestamp) {
        if self.0.back().is_some_and(|last| !last.is_silence()) {
            self.push(Sample::of(seconds(at), &Live::default()));
        }
    }

    /// Appends a sample, later than the last one even if the clock was set back.
    fn push(&mut self, mut sample: Sample) {
        let after = self.0.back().map_or(0, |last| last.at + 1);
        sample.at = sample.at.max(after);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The samples as columns.
    pub(crate) fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for sample in &self.0 {
            columns.push(sample);
        }
        columns
    }
}

fn seconds(at: Timestamp) -> u64 {
    at.as_micros() / 1_000_000
}

impl Sample {
    fn is_silence(&self) -> bool {
        let Self { at: _, block, cpu, memory, disk, latency, peers, pending } = *self;
        block.is_nan() && [cpu, memory, disk, latency, peers, pending].iter().all(|it| it.is_nan())
    }

    fn of(at: u64, live: &Live) -> Self {
        let wide = |figure: Figure| figure.0.unwrap_or(f64::NAN);
        let narrow = |figure: Figure| wide(figure) as f32;
        Self {
            at,
            block: wide(live.block.number),
            cpu: narrow(live.system.cpu),
            memory: narrow(live.system.memory),
            disk: narrow(live.system.disk),
            latency: narrow(live.latency),
            peers: narrow(live.chain.peers),
            pending: narrow(live.pending),
        }
    }
}

impl Columns {
    fn push(&mut self, sample: &Sample) {
        let known = |value: f32| value.is_finite().then_some(value);
        self.at.push(sample.at);
        self.block.push(sample.block.is_finite().then_some(sample.block));
        self.cpu.push(known(sample.cpu));
        self.memory.push(known(sample.memory));
        self.disk.push(known(sample.disk));
        self.latency.push(known(sample.latency));
        self.peers.push(known(sample.peers));
        self.pending.push(known(sample.pending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(history: &mut History, second: u64, latency: f64) {
        let live = Live { latency: Figure(Some(latency)), ..Live::default() };
        history.note(Timestamp::from_micros(second * 1_000_000), &live);
    }

    #[test]
    fn samples_are_ten_seconds_apart_and_keep_the_newest_figure() {
        let mut history = History::default();
        for (second, latency) in [(100, 1.0), (103, 2.0), (109, 3.0), (110, 4.0), (135, 5.0)] {
            note(&mut history, second, latency);
        }
        let columns = history.columns();
        assert_eq!(columns.at, [100, 110, 135]);
        assert_eq!(columns.latency, [Some(3.0), Some(4.0), Some(5.0)]);
        assert_eq!(columns.cpu, [None; 3]);
    }

    #[test]
    fn silence_leaves_a_gap_however_short_it_is() {
        let mut history = History::default();
        history.fall_silent(Timestamp::from_micros(90_000_000));
        assert!(history.columns().at.is_empty(), "there is no gap to keep");
        note(&mut history, 100, 1.0);
        for second in [100, 104] {
            history.fall_silent(Timestamp::from_micros(second * 1_000_000));
        }
        note(&mut history, 105, 2.0);
        note(&mut history, 108, 3.0);
        let columns = history.columns();
        assert_eq!(columns.at, [100, 101, 105]);
        assert_eq!(columns.latency, [Some(1.0), None, Some(3.0)]);
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept() {
        let mut history = History::default();
        for n in 0..200 {
            note(&mut history, n * 10, 1.0);
        }
        let columns = history.columns();
        assert_eq!((columns.at.len(), columns.at[0], columns.at[89]), (90, 1100, 1990));
    }
}
