//! One client that watches, as deliveries see it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use poa_core::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::budget::Budget;
use super::count::Counting;
use super::filter::TapFilter;
use super::line::Line;

/// A client, and the queue of its lines.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) lines: mpsc::Sender<Line>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Tap { filter: TapFilter, budget: Budget },
    Top(Box<Mutex<Counting>>),
}

impl Watcher {
    /// A receiver has confirmed these messages.
    pub(super) fn show(&self, receiver: &str, batch: &[Message]) {
        match &self.kind {
            Kind::Top(counting) => locked(counting).add(receiver, batch),
            Kind::Tap { filter, budget } if filter.wants_receiver(receiver) => {
                self.sample(filter, budget, receiver, batch);
            }
            Kind::Tap { .. } => {}
        }
    }

    /// Queues as many messages as the budget allows. Only they are touched; the task of the client formats them.
    fn sample(&self, filter: &TapFilter, budget: &Budget, receiver: &str, batch: &[Message]) {
        let wanted = u32::try_from(filter.count(batch)).unwrap_or(u32::MAX);
        if wanted == 0 {
            return;
        }
        let taken = budget.take(wanted, Instant::now());
        let messages = batch.iter().filter(|message| filter.wants(message));
        for message in messages.take(taken as usize) {
            let left_out = budget.left_out();
            match self.lines.try_reserve() {
                Ok(place) => place.send(Line::of(receiver, message, left_out)),
                Err(_) => budget.leave_out(left_out + 1),
            }
        }
        budget.leave_out(u64::from(wanted - taken));
    }

    /// The counts as a line, if a second is over since the last one. `None` for a tap, too.
    pub(super) fn counts(&self) -> Option<Line> {
        let Kind::Top(counting) = &self.kind else { return None };
        locked(counting).take(Instant::now()).map(Line::Whole)
    }
}

fn locked(counting: &Mutex<Counting>) -> MutexGuard<'_, Counting> {
    counting.lock().unwrap_or_else(PoisonError::into_inner)
}
