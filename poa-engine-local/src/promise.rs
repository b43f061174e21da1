//! Receipts for messages that were just accepted, and for duplicates.

use std::ops::Range;
use std::sync::Arc;

use poa_core::engine::{MessageIds, Receipt, TypeSet};
use poa_core::{Ack, IdempotencyKey, Message};

use crate::confirmations::Waiter;
use crate::keys::{Follower, Seen};
use crate::pending::{Mark, Pending, Promise};
use crate::state::State;

/// The result for the messages of one call.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The types of the accepted messages.
    pub(crate) routed: TypeSet,
    /// The strongest level among them.
    pub(crate) ack: Ack,
    /// The duplicates.
    pub(crate) repeated: Vec<Repeated>,
}

/// A duplicate of a message that was accepted before.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) key: IdempotencyKey,
    /// Its data type.
    pub(crate) types: TypeSet,
}

/// The receipts that only wait until their messages are durable.
pub(crate) type Stored = Vec<Arc<Waiter>>;

/// The event that the receipt of a duplicate waits for.
enum Open {
    /// The first message is not in the log yet; afterwards this many subscribers have to confirm it.
    OnItsWay { key: IdempotencyKey, readers: TypeSet, count: usize },
    /// This subscriber has not confirmed it.
    Unconfirmed { place: usize, position: u64 },
    /// A critical subscriber did not get it.
    Lost,
}

impl Open {
    fn shares(&self) -> usize {
        match self {
            Self::OnItsWay { count, .. } => (*count).max(1),
            Self::Unconfirmed { .. } | Self::Lost => 1,
        }
    }
}

impl State {
    /// The position of the next accepted event; see [`promise`](Self::promise).
    pub(crate) fn mark(&self) -> Mark {
        match &self.pending {
            Some(pending) => Mark::Entry(pending.entries.len()),
            None => Mark::Position(self.end),
        }
    }

    /// A receipt for the messages accepted since `mark`, and for the duplicates.
    pub(crate) fn promise(&mut self, taken: &Taken, ids: MessageIds, mark: Mark) -> Receipt {
        let delivered = match taken.ack {
            Ack::Stored => false,
            Ack::Delivered => true,
            _ => return Receipt::ready(ids),
        };
        let count = if delivered { self.count_confirming(taken.routed) } else { 0 };
        // Without subscribers to wait for, it waits for the disk only.
        let readers = if count == 0 { TypeSet::default() } else { taken.routed };
        let accepted = if taken.routed.is_empty() { 0 } else { count.max(1) };
        let open: Vec<_> =
            taken.repeated.iter().flat_map(|again| self.still_open(again, delivered)).collect();
        let missing = accepted + open.iter().map(Open::shares).sum::<usize>();
        if missing == 0 {
            return Receipt::ready(ids);
        }
        let (receipt, waiter) = Waiter::new(ids, missing);
        for open in open {
            self.wait_for(open, &waiter);
        }
        if accepted > 0 {
            self.add_promise(readers, mark, waiter);
        }
        receipt
    }

    /// The outstanding confirmations of a duplicate.
    fn still_open(&self, again: &Repeated, delivered: bool) -> Vec<Open> {
        let readers = if delivered { again.types } else { TypeSet::default() };
        match self.keys.seen(again.key) {
            Seen::Pending => {
                let count = self.count_confirming(readers);
                let readers = if count == 0 { TypeSet::default() } else { readers };
                vec![Open::OnItsWay { key: again.key, readers, count }]
            }
            Seen::Stored { lost: true, .. } if delivered => vec![Open::Lost],
            Seen::Stored { position, .. } => self
                .active()
                .filter(|(_, subscriber)| subscriber.has_to_confirm(readers))
                .filter(|(_, subscriber)| subscriber.position(&self.tail, self.end) <= position)
                .map(|(place, _)| Open::Unconfirmed { place, position })
                .collect(),
            Seen::Never => Vec::new(),
        }
    }

    fn wait_for(&mut self, open: Open, waiter: &Arc<Waiter>) {
        match open {
            Open::OnItsWay { key, readers, .. } => {
                self.keys.follow(key, Follower { waiter: waiter.clone(), readers });
            }
            Open::Unconfirmed { place, position } => {
                if let Some(subscriber) = &mut self.subscribers[place] {
                    subscriber.confirmations.push(position..position + 1, waiter.clone());
                }
            }
            Open::Lost => waiter.confirm(false),
        }
    }

    fn add_promise(&mut self, readers: TypeSet, mark: Mark, waiter: Arc<Waiter>) {
        match (mark, &mut self.pending) {
            (Mark::Entry(from), Some(pending)) => {
                let entries = from..pending.entries.len();
                pending.promises.push(Promise { entries, readers, waiter });
            }
            (Mark::Position(from), _) if !readers.is_empty() => {
                self.await_readers(readers, from..self.end, &waiter);
            }
            // Without a log and without critical subscribers, there is nothing to wait for.
            _ => waiter.confirm(true),
        }
    }

    fn await_readers(&mut self, readers: TypeSet, range: Range<u64>, waiter: &Arc<Waiter>) {
        let all = self.subscribers.iter_mut().flatten();
        for subscriber in all.filter(|subscriber| subscriber.has_to_confirm(readers)) {
            subscriber.confirmations.push(range.clone(), waiter.clone());
        }
    }

    /// The number of subscribers that have to confirm messages of these types.
    fn count_confirming(&self, types: TypeSet) -> usize {
        self.active().filter(|(_, subscriber)| subscriber.has_to_confirm(types)).count()
    }

    /// The receipts of a group that has become durable at `begin`. Returns those that only waited for that.
    pub(crate) fn keep_promises(&mut self, durable: &mut Pending, begin: u64) -> Stored {
        let mut stored = Vec::new();
        for promise in durable.promises.drain(..) {
            // Subscribers may have been removed since; then the disk is enough.
            if promise.readers.is_empty() || self.count_confirming(promise.readers) == 0 {
                stored.push(promise.waiter);
            } else {
                let from = begin + durable.entries[promise.entries.start].0;
                let last = begin + durable.entries[promise.entries.end - 1].0;
                self.await_readers(promise.readers, from..last + 1, &promise.waiter);
            }
        }
        stored
    }

    /// A message is stored: settles the receipts of its duplicates that wait for that.
    pub(crate) fn settle_key(&mut self, message: &Message, position: u64) {
        let Some(key) = message.idempotency_key() else { return };
        let (fingerprint, time) = (message.fingerprint(), message.received_at());
        for Follower { waiter, readers } in
            self.keys.store(key, fingerprint, message.id(), time, position)
        {
            if readers.is_empty() {
                waiter.confirm(true);
            } else {
                self.await_readers(readers, position..position + 1, &waiter);
            }
        }
    }
}
