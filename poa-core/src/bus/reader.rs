//! One receiver's view of the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::disk::{Chunk, Kept};
use super::place::Place;
use super::queue::Queue;
use super::{BatchLimits, Bus, Event, Load};
use crate::Message;
use crate::telemetry::Counter;

/// Reads the queue for one receiver.
#[derive(Debug)]
pub(crate) struct Reader {
    bus: Arc<Bus>,
    place: usize,
    wake: Arc<Notify>,
    /// Whoever reads the log holds this: the receiver's delivery, or what gives up its oldest messages.
    kept: Mutex<Option<Kept>>,
    damaged: Counter,
}

/// Events that were read together, each with its position.
pub(crate) type Batch = Vec<(u64, Event)>;

/// How soon a log that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// So much is given up at once.
const LETTERS: Load = Load { count: 1000, bytes: 4 << 20 };

impl Reader {
    pub(super) fn new(bus: Arc<Bus>, place: usize, wake: Arc<Notify>, damaged: Counter) -> Self {
        Self { bus, place, wake, kept: Mutex::new(None), damaged }
    }

    fn place<T>(&self, look: impl FnOnce(&mut Place) -> T) -> T {
        look(&mut self.bus.queue.lock().places[self.place])
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
            let batch = self.place(|place| place.read(full));
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
        self.room_to_shed().await;
        self.with_next_on_disk(limit, Place::read_from_disk).await
    }

    /// Reads the log where the reader goes on, and gives what is there to `take`. `None` when there is nothing and never will be.
    async fn with_next_on_disk<T: Default>(
        &self,
        limit: Load,
        take: impl FnOnce(&mut Place, Chunk, u64) -> T,
    ) -> Option<T> {
        let mut kept = self.kept.lock().await;
        let (from, end, types) = {
            let queue = self.bus.queue.lock();
            let place = &queue.places[self.place];
            match place.next_on_disk() {
                Some(from) => (from, queue.end(), place.types),
                None => return (!queue.closed).then(T::default),
            }
        };
        let log = self.bus.log.clone()?;
        let from_kept = kept.take();
        let read = move || log.read(from_kept, from, end, types, limit);
        let chunk = match tokio::task::spawn_blocking(read).await {
            Ok(Ok((chunk, reader))) => {
                *kept = Some(reader);
                chunk
            }
            Ok(Err(error)) => return self.after_error(&error).await,
            // The runtime is shutting down.
            Err(_) => return None,
        };
        self.report_damage(&chunk);
        let queue: &mut Queue = &mut self.bus.queue.lock();
        let end = queue.end();
        Some(take(&mut queue.places[self.place], chunk, end))
    }

    async fn after_error<T: Default>(&self, error: &poa_log::LogError) -> Option<T> {
        tracing::error!("cannot read the log, trying again: {}", crate::delivery::chain(error));
        tokio::time::sleep(RETRY).await;
        Some(T::default())
    }

    fn report_damage(&self, chunk: &Chunk) {
        if let Some(damage) = &chunk.damage {
            let goes_on_at = chunk.next;
            self.damaged.inc_by(chunk.passed_over);
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
        self.place(|place| place.confirm(&failed));
    }

    /// Nothing will be confirmed any more; whoever waits for it is told that the host has stopped.
    pub(crate) fn abandon(&self) {
        self.place(Place::abandon);
    }

    /// What waits, what is in hand included.
    pub(crate) fn backlog(&self) -> Load {
        self.place(|place| place.load())
    }

    /// Returns when what was given up is safe, but for so much as memory may hold.
    async fn room_to_shed(&self) {
        let room = self.place(|place| place.shed.room.clone());
        while self.place(|place| place.shed.is_full()) {
            room.notified().await;
        }
    }

    /// Gives up what has to be, as soon as there is any. Returns what is to become dead letters; it is returned again until
    /// [`letters_kept`](Self::letters_kept) confirms it.
    ///
    /// Cancel safe.
    pub(crate) async fn next_letters(&self) -> Vec<Message> {
        let wake = self.place(|place| place.shed.wake.clone());
        loop {
            let letters = self.letters();
            if !letters.is_empty() {
                return letters;
            }
            let over = self.place(|place| place.has_to_shed_from_disk());
            if over && self.with_next_on_disk(LETTERS, Place::shed_from_disk).await.is_some() {
                continue;
            }
            // A message may also become too old without anybody's telling.
            let _ = tokio::time::timeout(RETRY, wake.notified()).await;
        }
    }

    /// What is to become dead letters by now.
    pub(crate) fn letters(&self) -> Vec<Message> {
        self.place(|place| place.shed.letters(LETTERS.count))
    }

    /// The first so many of [`next_letters`](Self::next_letters) are safe.
    pub(crate) fn letters_kept(&self, count: usize) {
        self.place(|place| place.letters_kept(count));
    }
}
