//! One receiver's view of the queue.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{BatchLimits, Bus, Event, Load};

/// Reads the queue for one receiver.
#[derive(Debug)]
pub(crate) struct Reader {
    bus: Arc<Bus>,
    place: usize,
    wake: Arc<Notify>,
}

/// Events that were read together, each with its position.
pub(crate) type Batch = Vec<(u64, Event)>;

impl Reader {
    pub(super) fn new(bus: Arc<Bus>, place: usize, wake: Arc<Notify>) -> Self {
        Self { bus, place, wake }
    }

    /// The next events, as soon as there is a full batch or the first one has lingered; `None` at the end.
    ///
    /// Cancel safe: a call that is dropped has read nothing.
    pub(crate) async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch> {
        let full = Load {
            count: limits.size.max(1),
            bytes: usize::try_from(limits.bytes.get()).unwrap_or(usize::MAX),
        };
        self.wait_for(Load { count: 1, bytes: usize::MAX }, None).await;
        self.wait_for(full, Some(Instant::now() + limits.linger.get())).await;
        let batch = self.bus.queue.lock().places[self.place].read(full);
        (!batch.is_empty()).then_some(batch)
    }

    /// Returns when this much is unread, the bus is closed, or the deadline has passed.
    async fn wait_for(&self, load: Load, deadline: Option<Instant>) {
        while !self.is_there(load) {
            let woken = self.wake.notified();
            match deadline {
                None => woken.await,
                Some(at) => {
                    if tokio::time::timeout_at(at, woken).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn is_there(&self, load: Load) -> bool {
        let mut queue = self.bus.queue.lock();
        let closed = queue.closed;
        queue.places[self.place].want(load) || closed
    }

    /// Everything read so far is done with; `failed` lists the positions of what was not delivered.
    pub(crate) fn confirm(&self, failed: Vec<u64>) {
        self.bus.queue.lock().places[self.place].confirm(failed);
    }

    /// What waits, what is in hand included.
    pub(crate) fn backlog(&self) -> Load {
        self.bus.queue.lock().places[self.place].load()
    }
}
