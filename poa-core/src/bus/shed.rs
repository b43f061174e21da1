//! What a receiver gives up because its backlog is full.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::{Event, Load, WhenFull};
use crate::Message;
use crate::telemetry::Counter;

/// So much may wait for the dead letters; then what is new is refused, and what is old stays in the log.
const LIMIT: usize = 8 << 20;

/// What was given up and is not done with yet.
#[derive(Debug)]
pub(super) struct Shed {
    keeps_letters: bool,
    skipped: Counter,
    /// Positions that will not be delivered, and nobody was told yet.
    pub(super) lost: Vec<u64>,
    /// What is on its way to the dead letters, oldest first. It stays here until it is safe there.
    letters: VecDeque<(u64, Message)>,
    load: Load,
    /// Told when there is something to shed, and when there is room again.
    pub(super) wake: Arc<Notify>,
    pub(super) room: Arc<Notify>,
}

impl Shed {
    pub(super) fn new(when_full: WhenFull, skipped: Counter) -> Self {
        Self {
            keeps_letters: when_full == WhenFull::DeadLetter,
            skipped,
            lost: Vec::new(),
            letters: VecDeque::new(),
            load: Load::default(),
            wake: Arc::default(),
            room: Arc::default(),
        }
    }

    /// An event that the receiver will not get. A change of activity is no message, and cannot become a letter.
    pub(super) fn give_up(&mut self, position: u64, event: Event) {
        let load = Load::of(event.footprint());
        match event {
            Event::Message(message) if self.keeps_letters => {
                self.load.add(load);
                // What the receiver has in hand is older than what was given up before it.
                let at = self.letters.partition_point(|(other, _)| *other < position);
                self.letters.insert(at, (position, message));
                self.wake.notify_one();
            }
            Event::Message(_) | Event::Activity(_) => {
                self.skipped.inc();
                self.lost.push(position);
            }
        }
    }

    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Whether nothing waits for the dead letters.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.load.bytes > LIMIT
    }

    /// Where the oldest letter stands that is not safe yet.
    pub(super) fn first(&self) -> Option<u64> {
        self.letters.front().map(|(position, _)| *position)
    }

    /// The oldest letters, at most `limit`.
    pub(super) fn letters(&self, limit: usize) -> Vec<Message> {
        self.letters.iter().take(limit).map(|(_, message)| message.clone()).collect()
    }

    /// So many of the oldest letters are safe.
    pub(super) fn kept(&mut self, count: usize) {
        for (position, message) in self.letters.drain(..count) {
            self.load.subtract(Load::of(message.footprint()));
            self.lost.push(position);
        }
        if !self.is_full() {
            self.room.notify_one();
        }
    }
}
