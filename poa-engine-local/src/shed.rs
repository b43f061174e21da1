//! The events that a subscriber sheds because its backlog is full.

use std::collections::VecDeque;
use std::sync::Arc;

use poa_core::engine::Event;
use poa_core::telemetry::Counter;
use poa_core::{Message, WhenFull};
use tokio::sync::Notify;

use crate::load::Load;

/// The most bytes that may wait for the dead letters; above it new messages are refused, and old ones stay in the
/// log.
const LIMIT: usize = 8 << 20;

/// Events that were shed and are not settled yet.
#[derive(Debug)]
pub(crate) struct Shed {
    keeps_letters: bool,
    skipped: Counter,
    /// Positions that will not be delivered, and whose receipts have not failed yet.
    lost: Vec<u64>,
    /// Messages being dead-lettered, oldest first. They stay here until they are durable there.
    letters: VecDeque<(u64, Message)>,
    load: Load,
    /// Notified when there may be something to shed, and when there is room again.
    pub(crate) wake: Arc<Notify>,
    pub(crate) room: Arc<Notify>,
}

impl Shed {
    pub(crate) fn new(when_full: WhenFull, skipped: Counter) -> Self {
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

    /// Adopts another policy; queued letters stay.
    pub(crate) fn change(&mut self, when_full: WhenFull) {
        self.keeps_letters = when_full == WhenFull::DeadLetter;
    }

    /// An event that the receiver will not get. A change of activity is not a message, and cannot become a letter.
    pub(crate) fn take(&mut self, position: u64, event: Event) {
        let load = Load::of(&event);
        match event {
            Event::Message(message) if self.keeps_letters => {
                self.load.add(load);
                // The batch in flight is older than what was shed before it.
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

    pub(crate) fn load(&self) -> Load {
        self.load
    }

    pub(crate) fn is_full(&self) -> bool {
        self.load.bytes > LIMIT
    }

    /// The position of the oldest letter that is not durable yet.
    pub(crate) fn first(&self) -> Option<u64> {
        self.letters.front().map(|(position, _)| *position)
    }

    /// The oldest letters, at most `limit`.
    pub(crate) fn letters(&self, limit: usize) -> Vec<Message> {
        self.letters.iter().take(limit).map(|(_, message)| message.clone()).collect()
    }

    /// This many of the oldest letters are durable.
    pub(crate) fn kept(&mut self, count: usize) {
        for (position, message) in self.letters.drain(..count.min(self.letters.len())) {
            self.load.subtract(Load::of(&Event::Message(message)));
            self.lost.push(position);
        }
        if !self.is_full() {
            self.room.notify_one();
        }
    }

    /// Whether there are receipts to fail now.
    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// The positions whose receipts are to fail now.
    pub(crate) fn take_lost(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.lost)
    }
}
