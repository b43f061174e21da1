//! One receiver's view of the queue.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use poa_log::LogError;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::disk::{Chunk, OnDisk, Wanted};
use super::keys::Keys;
use super::place::Place;
use super::queue::Queue;
use super::{BatchLimits, Bus, Event, Load, ReaderCounts};
use crate::{Message, Timestamp};

/// Reads the queue for one receiver.
#[derive(Debug)]
pub(crate) struct Reader {
    bus: Arc<Bus>,
    place: usize,
    wake: Arc<Notify>,
    /// Whoever reads the log holds this: the receiver's delivery, or what gives up its oldest messages.
    on_disk: Mutex<OnDisk>,
    counts: ReaderCounts,
    /// The types that are not declared and were said to be so.
    undeclared: parking_lot::Mutex<BTreeSet<Box<str>>>,
}

/// Events that were read together, each with its position.
pub(crate) type Batch = Vec<(u64, Event)>;

/// How soon a log that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// So much is given up at once.
const LETTERS: Load = Load { count: 1000, bytes: 4 << 20 };

impl Reader {
    pub(super) fn new(
        bus: Arc<Bus>,
        place: usize,
        wake: Arc<Notify>,
        counts: ReaderCounts,
    ) -> Self {
        let undeclared = parking_lot::Mutex::default();
        Self { bus, place, wake, on_disk: Mutex::default(), counts, undeclared }
    }

    fn place<T>(&self, look: impl FnOnce(&mut Place) -> T) -> T {
        look(&mut self.bus.queue.lock().places[self.place])
    }

    /// The same with where the queue ends, and with the keys of its messages.
    fn place_and_queue<T>(&self, look: impl FnOnce(&mut Place, u64, &mut Keys) -> T) -> T {
        let queue: &mut Queue = &mut self.bus.queue.lock();
        let end = queue.end();
        look(&mut queue.places[self.place], end, &mut queue.keys)
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
            let batch = self.place_and_queue(|place, end, _| place.read(full, end));
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
        let take = |place: &mut Place, chunk, end, _: &mut Keys| place.read_from_disk(chunk, end);
        self.with_next_on_disk(limit, take, |on_disk| self.read_ahead(on_disk, limit)).await
    }

    /// Begins to read the next batch, if a whole one waits on the disk.
    fn read_ahead(&self, on_disk: &mut OnDisk, limit: Load) {
        let wanted = {
            let queue = self.bus.queue.lock();
            let place = &queue.places[self.place];
            place.whole_on_disk(limit).map(|from| place.wanted_on_disk(from, queue.end(), limit))
        };
        if let (Some(wanted), Some(log)) = (wanted, &self.bus.log) {
            on_disk.read_ahead(log, wanted);
        }
    }

    /// Reads the log where the reader goes on, and gives what is there to `take`; `after` comes at once after it. `None` when there is
    /// nothing and never will be.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
    async fn with_next_on_disk<T: Default>(
        &self,
        limit: Load,
        take: impl FnOnce(&mut Place, Chunk, u64, &mut Keys) -> T,
        after: impl FnOnce(&mut OnDisk),
    ) -> Option<T> {
        let mut on_disk = self.on_disk.lock().await;
        let wanted = {
            let queue = self.bus.queue.lock();
            let place = &queue.places[self.place];
            match place.next_on_disk() {
                Some(from) => place.wanted_on_disk(from, queue.end(), limit),
                None => return (!queue.closed).then(T::default),
            }
        };
        let chunk = match on_disk.read(self.bus.log.as_ref()?, wanted).await? {
            Ok(chunk) => chunk,
            Err(error) => return self.after_error(&error).await,
        };
        self.report_damage(&chunk);
        self.report_undeclared(&chunk);
        let taken = self.place_and_queue(|place, end, keys| {
            chunk.passed_over.iter().for_each(|part| place.confirmations.lose_all(part));
            take(place, chunk, end, keys)
        });
        after(&mut on_disk);
        Some(taken)
    }

    async fn after_error<T: Default>(&self, error: &LogError) -> Option<T> {
        tracing::error!("cannot read the log, trying again: {}", crate::delivery::chain(error));
        tokio::time::sleep(RETRY).await;
        Some(T::default())
    }

    fn report_damage(&self, chunk: &Chunk) {
        if let Some(damage) = &chunk.damage {
            let bytes: u64 = chunk.passed_over.iter().map(|part| part.end - part.start).sum();
            self.counts.damaged.inc_by(bytes);
            let (receiver, parts) = (&*self.name(), &chunk.passed_over);
            tracing::error!(
                receiver,
                ?parts,
                "passed over {bytes} bytes of the log, messages may be lost to the receiver: {damage}"
            );
        }
    }

    /// Says once for each type that its messages come to nobody any more; the others of it are counted.
    fn report_undeclared(&self, chunk: &Chunk) {
        for (data_type, messages) in &chunk.undeclared {
            self.counts.undeclared.inc_by(*messages);
            if self.undeclared.lock().insert(data_type.clone()) {
                tracing::error!(
                    receiver = &*self.name(),
                    %data_type,
                    messages,
                    "messages that wait in the log are of a type that is not among the `metrics` any more, and are given to \
                     nobody; declare it again to have what still waits, `poa_receiver_undeclared_messages_total` counts them"
                );
            }
        }
    }

    fn name(&self) -> Arc<str> {
        self.place(|place| place.name.clone())
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
        let mut queue = self.bus.queue.lock();
        queue.confirm(self.place, &failed);
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
            let (in_hand, on_disk) = self.place_and_queue(|place, end, _| {
                place.give_up_in_memory(Timestamp::now(), end);
                (place.in_hand_to_give_up(end), place.has_to_give_up_on_disk(end))
            });
            if let Some(at) = in_hand {
                self.give_up_in_hand(at).await;
                continue;
            }
            if on_disk
                && self.with_next_on_disk(LETTERS, Place::give_up_on_disk, |_| {}).await.is_some()
            {
                continue;
            }
            if !self.place(|place| place.shed.is_empty()) {
                continue;
            }
            // A message may also become too old without anybody's telling.
            let _ = tokio::time::timeout(RETRY, wake.notified()).await;
        }
    }

    /// Gives up what the receiver has in hand, as far as one read of the log goes.
    async fn give_up_in_hand(&self, at: Range<u64>) {
        let Some(log) = self.bus.log.clone() else { return };
        let (types, receiver) = self.place(|place| (place.types, place.name.clone()));
        let from = at.start;
        let wanted = Wanted { from, end: at.end, types, limit: LETTERS };
        let read = move || log.read(None, wanted);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((chunk, _))) => {
                let (receiver, messages) = (&*receiver, chunk.events.len());
                tracing::warn!(
                    receiver,
                    messages,
                    "given up while the receiver has them in hand, because so much of the log was kept for them"
                );
                self.place_and_queue(|place, _, keys| place.give_up_in_hand(from, chunk, keys));
            }
            Ok(Err(error)) => {
                self.after_error::<()>(&error).await;
            }
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }

    /// What is to become dead letters by now.
    pub(crate) fn letters(&self) -> Vec<Message> {
        self.place(|place| place.shed.letters(LETTERS.count))
    }

    /// The first so many of [`next_letters`](Self::next_letters) are safe.
    pub(crate) fn letters_kept(&self, count: usize) {
        self.place_and_queue(|place, _, keys| place.letters_kept(count, keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::commit::OpenLog;
    use crate::bus::cursors::Cursor;
    use crate::bus::pending::Pending;
    use crate::bus::{Acks, BusCounts, KeyWindow};
    use crate::data_type::TypeSet;
    use crate::{Ack, AgentId, DataTypes, Draft, Payload, ReceiverOptions};

    /// A bus on a log with ten messages.
    fn bus(dir: &std::path::Path) -> Arc<Bus> {
        let types = DataTypes::new(["a"]).unwrap();
        let mut open = OpenLog::open(dir, types.clone(), poa_log::Options::default()).unwrap();
        let mut ids = crate::id::IdGenerator::new();
        let mut pending = Pending::default();
        for _ in 0..10 {
            let now = Timestamp::now();
            let payload = Payload::json(&serde_json::json!({})).unwrap();
            let agent = AgentId::new("agent").unwrap();
            let draft = Draft::new(agent, types.get("a").unwrap().clone(), payload);
            pending.push(Event::Message(Message::stamp(draft, ids.next(now), now)));
        }
        open.log.append(&pending.group).unwrap();
        let acks = Acks { by_type: [Ack::Stored].into(), delivered_within: RETRY };
        Bus::on_log(types, acks, BusCounts::default(), KeyWindow::default(), &open)
    }

    /// A reader for which all of them wait.
    fn reader(bus: &Arc<Bus>) -> Reader {
        let mut types = TypeSet::default();
        types.insert(bus.types.get("a").unwrap());
        let left = Cursor { messages: 10, bytes: 1000, ..Cursor::default() };
        let options = ReceiverOptions::subscribe(["a"]);
        bus.subscribe("r", types, &options, ReaderCounts::default(), Some(left))
    }

    fn positions(batch: Batch) -> Vec<u64> {
        batch.into_iter().map(|(position, _)| position).collect()
    }

    fn limits(size: usize) -> BatchLimits {
        BatchLimits { size, linger: Duration::ZERO.into(), ..BatchLimits::default() }
    }

    async fn next(reader: &Reader, size: usize) -> Vec<u64> {
        positions(reader.next_batch(&limits(size)).await.unwrap())
    }

    async fn ahead(reader: &Reader) -> Option<u64> {
        reader.on_disk.lock().await.ahead_from()
    }

    #[tokio::test]
    async fn the_next_whole_batch_is_read_while_one_is_in_hand() {
        let dir = tempfile::tempdir().unwrap();
        let bus = bus(dir.path());
        let all = next(&reader(&bus), 10).await;
        assert_eq!(all.len(), 10);
        let reader = reader(&bus);
        assert_eq!(next(&reader, 4).await, all[..4]);
        assert_eq!(ahead(&reader).await, Some(all[4]));
        reader.confirm(Vec::new());
        assert_eq!(next(&reader, 4).await, all[4..8]);
        assert_eq!(ahead(&reader).await, None, "two are no whole batch");
        reader.confirm(Vec::new());
        assert_eq!(next(&reader, 4).await, all[8..]);
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_dropped_when_the_receiver_goes_on_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let bus = bus(dir.path());
        let all = next(&reader(&bus), 10).await;
        let reader = reader(&bus);
        assert_eq!(next(&reader, 2).await, all[..2]);
        assert_eq!(ahead(&reader).await, Some(all[2]));
        // As when what comes first is given up.
        reader.place(|place| place.behind = Some(all[7]));
        assert_eq!(next(&reader, 2).await, all[7..9]);
        assert_eq!(next(&reader, 3).await, all[9..], "another limit");
    }
}
