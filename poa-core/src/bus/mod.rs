//! Carries messages from handlers to receivers.
//!
//! Every message is held once and queued for each of its readers. A reader that is slow keeps its own messages alive, up to
//! the bound of its backlog, and costs the other readers nothing.

mod limits;
mod place;
mod queue;
mod reader;
mod receipt;

use std::sync::Arc;

use parking_lot::Mutex;

pub use limits::{Backlog, BatchLimits, WhenFull};
pub(crate) use place::Load;
pub(crate) use queue::Event;
use queue::Queue;
pub(crate) use reader::{Batch, Reader};
pub(crate) use receipt::Confirmations;
pub use receipt::{Receipt, ReceiptError};

use crate::data_type::TypeSet;
use crate::telemetry::Counter;
use crate::{Ack, Activity, Draft, Timestamp};

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
    /// The host is stopping.
    #[error("the host is stopping; try again later")]
    Stopping,
}

/// The way from handlers to receivers, inside one process and in memory.
#[derive(Debug)]
pub(crate) struct Bus {
    queue: Mutex<Queue>,
    ack: Ack,
    unrouted: Counter,
}

impl Bus {
    pub(crate) fn new(ack: Ack, unrouted: Counter) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Queue::new()), ack, unrouted })
    }

    /// Adds a reader of these types, which starts at the end of the queue.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        name: &str,
        types: TypeSet,
        backlog: Backlog,
        skipped: Counter,
    ) -> Reader {
        let (place, wake) = self.queue.lock().add_reader(name, types, backlog, skipped);
        Reader::new(self.clone(), place, wake)
    }

    /// Takes all of these messages, or none of them.
    pub(crate) fn publish<M>(&self, messages: M) -> Result<Receipt, Refused>
    where
        M: IntoIterator<Item = Draft> + AsRef<[Draft]>,
    {
        let mut queue = self.queue.lock();
        queue.admit(messages.as_ref())?;
        let now = Timestamp::now();
        let from = queue.end();
        let mut routed = TypeSet::default();
        for draft in messages {
            if queue.has_reader_of(&draft.data_type) {
                routed.insert(&draft.data_type);
                queue.push_message(draft, now);
            } else {
                self.unrouted.inc();
            }
        }
        let receipt = match self.ack {
            Ack::Delivered => queue.await_confirmation(routed, from),
            Ack::Memory | Ack::Stored => Receipt::ready(),
        };
        queue.wake_readers();
        Ok(receipt)
    }

    /// Tells every reader that an agent changed its state. Never refused: there are at most as many of these as agents.
    pub(crate) fn publish_activity(&self, change: Activity) {
        let mut queue = self.queue.lock();
        queue.push(&Event::Activity(change));
        queue.wake_readers();
    }

    /// Takes nothing more. Readers get what is left, then the end.
    pub(crate) fn close(&self) {
        self.queue.lock().close();
    }

    /// Messages that went to nobody, because no receiver subscribed to their type.
    pub(crate) fn unrouted(&self) -> u64 {
        self.unrouted.get()
    }
}

#[cfg(test)]
mod tests;
