//! A partition that is held.

use tokio::time::Instant;

use super::Write;
use crate::cursor::{Claimed, Cursor};
use crate::pack::Position;
use crate::trying::Trying;

/// How many events may be confirmed before the cursor is written at once, and not within a second.
const WRITTEN_AFTER: u32 = 1000;
/// How many before nothing more is handed out until it is written. So many, and a batch, a node may repeat that takes over.
const MOST_UNWRITTEN: u32 = 4000;

/// A partition that is held.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) epoch: u64,
    pub(crate) until: Instant,
    /// As it was last written, and its revision.
    pub(crate) cursor: Cursor,
    pub(crate) revision: u64,
    /// Everything up to here was read.
    pub(super) received: Position,
    /// The reader that reads it.
    pub(super) group: u64,
    /// Nothing more is read: the partition goes to another node once nothing of it is in flight.
    pub(super) leaving: bool,
    /// How many events were confirmed since the holder before ended without letting go.
    since_crash: Option<u32>,
    /// Whether the cursor must name what is tried before that is handed out.
    pub(super) must_be_named: bool,
    /// Whether the cursor has changed besides its position.
    pub(super) dirty: bool,
    /// How many events were confirmed since it was written.
    pub(super) unwritten: u32,
}

/// Whether an event may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Free,
    Alone,
    Later,
}

impl Partition {
    pub(super) fn new(claimed: Claimed, group: u64, until: Instant) -> Self {
        let Claimed { cursor, revision, crashed } = claimed;
        Self {
            epoch: cursor.epoch,
            until,
            received: cursor.position(),
            cursor,
            revision,
            group,
            leaving: false,
            since_crash: crashed.then_some(0),
            must_be_named: false,
            dirty: false,
            unwritten: 0,
        }
    }

    /// Whether the holder before may have ended over one of the next events: it had so many in flight or confirmed and unwritten.
    pub(super) fn is_careful(&self, batch: usize) -> bool {
        self.since_crash.is_some_and(|count| (count as usize) < MOST_UNWRITTEN as usize + batch)
    }

    pub(super) fn permit(&self, position: Position, batch: usize) -> Permit {
        if !self.is_careful(batch) {
            return Permit::Free;
        }
        match self.cursor.trying.filter(|trying| trying.permits(position.raw())) {
            Some(trying) if trying.is_alone() => Permit::Alone,
            Some(_) => Permit::Free,
            None => Permit::Later,
        }
    }

    pub(super) fn is_poison(&self, position: Position) -> bool {
        self.cursor.trying.is_some_and(|trying| trying.is_poison(position.raw()))
    }

    /// Names what is tried next, from one event to another, unless it is named already.
    pub(super) fn try_next(&mut self, first: Position, last: Position, batch: usize) {
        if self.permit(first, batch) == Permit::Later {
            let (first, last) = (first.raw(), last.raw());
            let next = self.cursor.trying.map(|trying| trying.next(first, last));
            self.cursor.trying = Some(next.unwrap_or(Trying::batch(last)));
            self.must_be_named = true;
        }
    }

    /// Whether nothing more may be handed out before the cursor is written.
    pub(super) fn must_write(&self) -> bool {
        self.must_be_named || self.unwritten >= MOST_UNWRITTEN
    }

    /// An event was confirmed.
    pub(super) fn confirmed(&mut self) {
        self.since_crash = self.since_crash.map(|count| count.saturating_add(1));
        self.unwritten += 1;
    }

    /// Whether the cursor is to be written at once.
    pub(super) fn is_to_be_written(&self, batch: usize) -> bool {
        self.is_careful(batch) || self.unwritten >= WRITTEN_AFTER
    }

    /// The cursor was written. What changed meanwhile stays.
    pub(super) fn written(&mut self, write: Write, revision: u64) {
        let Write { mut cursor, confirmed, .. } = write;
        let lost: Vec<_> = cursor.lost().collect();
        let missing: Vec<_> =
            self.cursor.lost().filter(|position| !lost.contains(position)).collect();
        self.dirty = !missing.is_empty();
        missing.into_iter().for_each(|position| cursor.add_lost(position));
        self.must_be_named = cursor.trying != self.cursor.trying;
        cursor.trying = self.cursor.trying;
        self.unwritten = self.unwritten.saturating_sub(confirmed);
        (self.cursor, self.revision) = (cursor, revision);
    }
}
