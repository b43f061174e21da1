//! Carries messages from handlers to receivers.
//!
//! Every message is held once and queued for each of its readers. With a log behind it, a message is queued once it is on the disk,
//! and a reader that falls behind reads from there.

mod bounds;
mod codec;
mod commit;
mod cursors;
mod disk;
mod keys;
mod limits;
mod pending;
mod place;
mod queue;
mod reader;
mod receipt;
mod shed;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub use commit::LogOpenError;
pub(crate) use commit::OpenLog;
use cursors::Cursor;
pub(crate) use cursors::Cursors;
pub use cursors::left_behind;
pub use keys::KeyWindow;
use keys::Seen;
pub use limits::{Backlog, BatchLimits, WhenFull};
use pending::Pending;
pub(crate) use place::Load;
use place::Place;
pub(crate) use queue::Event;
use queue::{Past, Queue};
pub(crate) use reader::{Batch, Reader};
pub(crate) use receipt::Confirmations;
use receipt::Waiter;
pub use receipt::{Receipt, ReceiptError};

use crate::data_type::TypeSet;
use crate::host::ReadFrom;
use crate::telemetry::Counter;
use crate::{
    Ack, Activity, DataType, DataTypes, Draft, IdempotencyKey, ReceiverOptions, Timestamp,
};

/// Why the bus does not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The backlog of this receiver is full.
    #[error("the backlog of receiver `{receiver}` is full; try again later")]
    BacklogFull {
        /// The receiver that is behind.
        receiver: Arc<str>,
    },
    /// More is waiting to be written to the log than memory may hold.
    #[error("the disk is too slow; try again later")]
    LogBusy,
    /// The data type was not taken from this host's [`DataTypes`].
    #[error("data type `{0}` belongs to another host; take it from this one's `data_types`")]
    ForeignDataType(String),
    /// A message of this idempotency key was taken, and it said something else.
    #[error("another message was sent with this idempotency key; give every message its own")]
    KeyReused,
    /// The host is stopping.
    #[error("the host is stopping; try again later")]
    Stopping,
}

/// What is promised of which messages.
#[derive(Clone, Debug)]
pub(crate) struct Acks {
    /// By the index of the data type.
    pub(crate) by_type: Box<[Ack]>,
    /// How long `delivered` may take.
    pub(crate) delivered_within: Duration,
}

impl Acks {
    fn of(&self, data_type: &DataType) -> Ack {
        self.by_type.get(data_type.index()).copied().unwrap_or_default()
    }
}

/// What was not taken.
#[derive(Debug, Default)]
pub(crate) struct BusCounts {
    /// Messages that went to nobody, because no receiver subscribed to their type.
    pub(crate) unrouted: Counter,
    /// Messages that had been taken before, by their idempotency key.
    pub(crate) repeated: Counter,
}

/// What a reader did not get.
#[derive(Debug, Default)]
pub(crate) struct ReaderCounts {
    /// Messages that were given up, and kept nowhere.
    pub(crate) skipped: Counter,
    /// Bytes of the log that could not be read.
    pub(crate) damaged: Counter,
    /// Messages in the log of types that are no longer declared.
    pub(crate) undeclared: Counter,
}

/// What came of the messages of one call.
#[derive(Debug, Default)]
struct Taken {
    /// The types of those that were accepted.
    routed: TypeSet,
    /// The strongest promise among them.
    ack: Ack,
    /// Those that had been accepted before.
    repeated: Vec<Repeated>,
}

/// A message that was accepted before.
#[derive(Debug)]
struct Repeated {
    key: IdempotencyKey,
    /// Its type.
    types: TypeSet,
}

/// The way from handlers to receivers.
#[derive(Debug)]
pub(crate) struct Bus {
    queue: Mutex<Queue>,
    /// Told when the committer has something to do.
    work: Condvar,
    types: DataTypes,
    acks: Acks,
    counts: BusCounts,
    log: Option<disk::LogReaders>,
}

impl Bus {
    /// A bus in memory.
    pub(crate) fn in_memory(
        types: DataTypes,
        acks: Acks,
        counts: BusCounts,
        window: KeyWindow,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue::new(0, None, Past::none(window))),
            work: Condvar::new(),
            types,
            acks,
            counts,
            log: None,
        })
    }

    /// A bus on a log. It carries nothing until [`OpenLog::commit_for`] runs.
    pub(crate) fn on_log(
        types: DataTypes,
        acks: Acks,
        counts: BusCounts,
        window: KeyWindow,
        log: &OpenLog,
    ) -> Arc<Self> {
        let pending = Some(Pending::default());
        Arc::new(Self {
            queue: Mutex::new(Queue::new(log.end(), pending, log.past(window))),
            work: Condvar::new(),
            types,
            acks,
            counts,
            log: Some(log.readers()),
        })
    }

    /// Adds a reader of these types. It starts where it left the log, or at the end.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        name: &str,
        types: TypeSet,
        options: &ReceiverOptions,
        counts: ReaderCounts,
        left: Option<Cursor>,
    ) -> Reader {
        let begin = match (&self.log, options.from) {
            (Some(log), ReadFrom::Start) => Some(log.begin()),
            _ => None,
        };
        let place = Place::new(name, types, options, counts.skipped.clone());
        let (place, wake) = self.queue.lock().add_reader(place, left.or(begin));
        Reader::new(self.clone(), place, wake, counts)
    }

    /// Takes all of these messages, or none of them.
    pub(crate) fn publish<M>(&self, messages: M) -> Result<Receipt, Refused>
    where
        M: IntoIterator<Item = Draft> + AsRef<[Draft]>,
    {
        check_types(&self.types, messages.as_ref())?;
        let now = Timestamp::now();
        let mut queue = self.queue.lock();
        queue.accept_changes();
        queue.admit(messages.as_ref(), now)?;
        let mark = queue.mark();
        let mut taken = Taken::default();
        for draft in messages {
            self.take(&mut queue, draft, now, &mut taken);
        }
        let receipt = queue.promise(&taken, mark);
        self.after_accept(&mut queue);
        drop(queue);
        let delivered = taken.ack == Ack::Delivered;
        Ok(if delivered { receipt.within(self.acks.delivered_within) } else { receipt })
    }

    /// Takes a message, unless nobody wants it or it was taken before.
    fn take(&self, queue: &mut Queue, draft: Draft, now: Timestamp, taken: &mut Taken) {
        if !queue.has_reader_of(&draft.data_type) {
            self.counts.unrouted.inc();
            return;
        }
        taken.ack = taken.ack.max(self.acks.of(&draft.data_type));
        match draft.key {
            Some(key) if queue.note_key(key, draft.fingerprint) != Seen::Never => {
                self.counts.repeated.inc();
                let mut types = TypeSet::default();
                types.insert(&draft.data_type);
                taken.repeated.push(Repeated { key, types });
            }
            _ => {
                taken.routed.insert(&draft.data_type);
                queue.accept_message(draft, now);
            }
        }
    }

    /// Tells every reader that an agent changed its state. Never refused: without room they hear of it later, and only of the last
    /// change of each agent.
    pub(crate) fn publish_activity(&self, change: Activity) {
        let mut queue = self.queue.lock();
        queue.accept_change(change);
        self.after_accept(&mut queue);
    }

    fn after_accept(&self, queue: &mut Queue) {
        if self.log.is_none() {
            queue.wake_readers();
        } else if !queue.lingering || !queue.may_linger() {
            self.work.notify_one();
        }
    }

    /// Takes nothing more. Readers get what is left, then the end.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.accept_changes();
        queue.closing = true;
        if self.log.is_some() {
            self.work.notify_one();
        } else {
            queue.close();
        }
    }

    /// Whether nothing more is taken, because the host stops or nobody writes the log any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.queue.lock().closing
    }

    /// Readers have ended: what they have confirmed is all they will.
    pub(crate) fn finish(&self) {
        self.queue.lock().finished = true;
        self.work.notify_one();
    }

    /// Messages that were accepted and are gone, because the log could not be written when the host stopped.
    pub(crate) fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    pub(crate) fn counts(&self) -> &BusCounts {
        &self.counts
    }
}

/// A data type of another host has the number of another type here.
pub(crate) fn check_types(types: &DataTypes, messages: &[Draft]) -> Result<(), Refused> {
    match messages.iter().find(|draft| !types.is_own(&draft.data_type)) {
        Some(foreign) => Err(Refused::ForeignDataType(foreign.data_type.name().to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
