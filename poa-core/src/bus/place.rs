//! What waits for one reader.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;

use super::{Backlog, Confirmations, Event, WhenFull};
use crate::Draft;
use crate::data_type::TypeSet;
use crate::telemetry::Counter;

/// A number of events and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Load {
    fn of(bytes: usize) -> Self {
        Self { count: 1, bytes }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.bytes -= other.bytes;
    }

    fn reaches(self, other: Self) -> bool {
        self.count >= other.count || self.bytes >= other.bytes
    }
}

/// The queue of one reader. Events are shared between queues, so that a reader costs a pointer for each.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) name: Arc<str>,
    pub(super) types: TypeSet,
    backlog: Backlog,
    unread: VecDeque<(u64, Event)>,
    unread_load: Load,
    /// What was read and not confirmed.
    in_hand: Load,
    /// The position after the last event read.
    read_to: u64,
    /// The reader sleeps until this much is unread.
    pub(super) wanted: Option<Load>,
    pub(super) wake: Arc<Notify>,
    pub(super) confirmations: Confirmations,
    skipped: Counter,
    /// Positions that were skipped since the last confirmation.
    skips: Vec<u64>,
}

impl Place {
    pub(super) fn new(name: &str, types: TypeSet, backlog: Backlog, skipped: Counter) -> Self {
        Self {
            name: name.into(),
            types,
            backlog,
            unread: VecDeque::new(),
            unread_load: Load::default(),
            in_hand: Load::default(),
            read_to: 0,
            wanted: None,
            wake: Arc::default(),
            confirmations: Confirmations::default(),
            skipped,
            skips: Vec::new(),
        }
    }

    /// Whether these messages fit, or older ones may give way to them.
    pub(super) fn admits(&self, drafts: &[Draft]) -> bool {
        if self.backlog.when_full == WhenFull::Skip {
            return true;
        }
        let wanted = |draft: &&Draft| self.types.contains(&draft.data_type);
        let bytes = drafts.iter().filter(wanted).map(Draft::footprint).sum();
        bytes == 0 || self.has_room(bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.load().bytes;
        // A message larger than the whole backlog must pass when nothing else waits, or it never would.
        waiting == 0 || (waiting + bytes) as u64 <= self.backlog.max_bytes.get()
    }

    pub(super) fn push(&mut self, position: u64, event: Event) {
        let load = Load::of(event.footprint());
        while self.backlog.when_full == WhenFull::Skip && !self.has_room(load.bytes) {
            if !self.skip_oldest() {
                break;
            }
        }
        self.unread_load.add(load);
        self.unread.push_back((position, event));
    }

    /// False when nothing can be skipped, because all that waits is in the reader's hand.
    fn skip_oldest(&mut self) -> bool {
        let Some((position, event)) = self.unread.pop_front() else { return false };
        self.unread_load.subtract(Load::of(event.footprint()));
        self.skipped.inc();
        self.skips.push(position);
        true
    }

    /// Whether this much is unread. If not, the reader is woken once it is.
    pub(super) fn want(&mut self, load: Load) -> bool {
        let enough = self.unread_load.reaches(load);
        self.wanted = (!enough).then_some(load);
        enough
    }

    pub(super) fn wake_if_wanted(&mut self) {
        if self.wanted.is_some_and(|wanted| self.unread_load.reaches(wanted)) {
            self.wanted = None;
            self.wake.notify_one();
        }
    }

    /// Takes as many events as fit into `limit`, at least one if there is one.
    pub(super) fn read(&mut self, limit: Load) -> Vec<(u64, Event)> {
        let mut taken = Vec::with_capacity(limit.count.min(self.unread.len()));
        let mut load = Load::default();
        while let Some((position, event)) = self.unread.pop_front() {
            let size = Load::of(event.footprint());
            let full = load.count == limit.count || load.bytes + size.bytes > limit.bytes;
            if full && load.count > 0 {
                self.unread.push_front((position, event));
                break;
            }
            load.add(size);
            self.read_to = position + 1;
            taken.push((position, event));
        }
        self.unread_load.subtract(load);
        self.in_hand.add(load);
        taken
    }

    /// Everything read is done with; `failed` lists the positions of what was not delivered.
    pub(super) fn confirm(&mut self, mut failed: Vec<u64>) {
        self.in_hand = Load::default();
        failed.append(&mut self.skips);
        failed.sort_unstable();
        self.confirmations.settle(self.read_to, &failed);
        self.give_back_memory();
    }

    fn give_back_memory(&mut self) {
        const KEPT: usize = 4096;
        if self.unread.capacity() > KEPT && self.unread.len() < self.unread.capacity() / 8 {
            self.unread.shrink_to(KEPT.max(self.unread.len() * 2));
        }
    }

    /// What waits, what is in hand included.
    pub(super) fn load(&self) -> Load {
        let mut load = self.unread_load;
        load.add(self.in_hand);
        load
    }
}
