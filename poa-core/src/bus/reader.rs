//! One receiver's view of the queue.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::disk::{Chunk, Kept};
use super::{BatchLimits, Bus, Event, Load};

/// Reads the queue for one receiver.
#[derive(Debug)]
pub(crate) struct Reader {
    bus: Arc<Bus>,
    place: usize,
    wake: Arc<Notify>,
    kept: Mutex<Option<Kept>>,
}

/// Events that were read together, each with its position.
pub(crate) type Batch = Vec<(u64, Event)>;

/// How soon a log that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Reader {
    pub(super) fn new(bus: Arc<Bus>, place: usize, wake: Arc<Notify>) -> Self {
        Self { bus, place, wake, kept: Mutex::new(None) }
    }

    /// The next events, as soon as there is a full batch or the first one has lingered; `None` at the end.
    ///
    /// Cancel safe: a call that is dropped has read nothing.
    pub(crate) async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch> {
        let full = Load {
            count: limits.size.max(1),
            bytes: usize::try_from(limits.bytes.get()).unwrap_or(usize::MAX),
        };
        loop {
            self.wait_for(Load { count: 1, bytes: usize::MAX }, None).await;
            self.wait_for(full, Some(Instant::now() + limits.linger.get())).await;
            let batch = self.bus.queue.lock().places[self.place].read(full);
            if !batch.is_empty() {
                return Some(batch);
            }
            let batch = self.read_from_disk(full).await?;
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    /// What comes next in the log; `None` when there is nothing there and never will be.
    async fn read_from_disk(&self, limit: Load) -> Option<Batch> {
        let (from, end, types) = {
            let queue = self.bus.queue.lock();
            let place = &queue.places[self.place];
            match place.next_on_disk() {
                Some(from) => (from, queue.end(), place.types),
                None => return (!queue.closed).then(Vec::new),
            }
        };
        let log = self.bus.log.clone()?;
        let kept = self.kept.lock().take();
        let read = move || log.read(kept, from, end, types, limit);
        let chunk = match tokio::task::spawn_blocking(read).await {
            Ok(Ok((chunk, kept))) => {
                *self.kept.lock() = Some(kept);
                chunk
            }
            Ok(Err(error)) => return self.after_error(&error).await,
            // The runtime is shutting down.
            Err(_) => return None,
        };
        self.report_damage(&chunk);
        let mut queue = self.bus.queue.lock();
        let end = queue.end();
        Some(queue.places[self.place].read_from_disk(chunk, end))
    }

    async fn after_error(&self, error: &poa_log::LogError) -> Option<Batch> {
        tracing::error!("cannot read the log, trying again: {}", crate::delivery::chain(error));
        tokio::time::sleep(RETRY).await;
        Some(Vec::new())
    }

    fn report_damage(&self, chunk: &Chunk) {
        if let Some(damage) = &chunk.damage {
            let goes_on_at = chunk.next;
            tracing::error!(goes_on_at, "messages are lost to a receiver: {damage}");
        }
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
        self.bus.queue.lock().places[self.place].confirm(&failed);
    }

    /// Nothing will be confirmed any more; whoever waits for it is told that the host has stopped.
    pub(crate) fn abandon(&self) {
        self.bus.queue.lock().places[self.place].abandon();
    }

    /// What waits, what is in hand included.
    pub(crate) fn backlog(&self) -> Load {
        self.bus.queue.lock().places[self.place].load()
    }
}
