//! A receiver's handle to its subscriber.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use poa_core::async_trait;
use poa_core::engine::{Batch, Level, Subscription, SubscriptionCounts};
use poa_core::{BatchLimits, Message, error_chain};
use poa_log::LogError;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use crate::bounds::AT_ONCE;
use crate::disk::{Chunk, OnDisk, Wanted};
use crate::load::Load;
use crate::local::Local;
use crate::state::{Stage, State};
use crate::subscriber::Subscriber;

/// The wait before a log that could not be read is tried again, and the interval at which the age of messages is checked.
const RETRY: Duration = Duration::from_secs(1);

/// A subscription: reads memory and the log for one receiver.
#[derive(Debug)]
pub(crate) struct Handle {
    local: Arc<Local>,
    place: usize,
    /// The generation of the subscriber, until another handle takes over.
    generation: u64,
    bell: Arc<Notify>,
    /// Locked while the log is read: by the receiver's delivery, or by the task that sheds its oldest messages.
    on_disk: Mutex<OnDisk>,
    counts: SubscriptionCounts,
    /// The undeclared types that were reported.
    undeclared: parking_lot::Mutex<BTreeSet<Box<str>>>,
}

impl Handle {
    pub(crate) fn new(
        local: Arc<Local>,
        place: usize,
        generation: u64,
        counts: SubscriptionCounts,
    ) -> Self {
        let bell = {
            let state = local.state.lock();
            let subscriber = state.subscribers[place].as_ref();
            subscriber.map(|subscriber| subscriber.alarm.bell.clone()).unwrap_or_default()
        };
        let (on_disk, undeclared) = (Mutex::default(), parking_lot::Mutex::default());
        Self { local, place, generation, bell, on_disk, counts, undeclared }
    }

    /// Runs a function on the subscriber, unless it was removed or another handle has taken over.
    fn with<T>(&self, look: impl FnOnce(&mut Subscriber) -> T) -> Option<T> {
        self.with_state(|state| {
            let subscriber = state.subscribers[self.place].as_mut()?;
            (subscriber.generation == self.generation).then(|| look(subscriber))
        })
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.local.state.lock())
    }

    fn is_current(&self, state: &State) -> bool {
        let subscriber = state.subscribers[self.place].as_ref();
        subscriber.is_some_and(|subscriber| subscriber.generation == self.generation)
    }

    /// The next events in memory; `None` if the subscriber has to read the log.
    fn read_memory(&self, limit: Load) -> Batch {
        self.with_state(|state| {
            if !self.is_current(state) {
                return Batch::new();
            }
            match state.read_memory(self.place, limit) {
                Some(stretch) => state.hand_out(self.place, stretch),
                None => Batch::new(),
            }
        })
    }

    /// The next events in the log; `None` if there are none and never will be.
    async fn read_disk(&self, limit: Load) -> Option<Batch> {
        self.room_to_shed().await;
        let take = |state: &mut State, chunk: Chunk| state.hand_out(self.place, chunk.stretch);
        self.with_chunk(limit, take, |on_disk| self.read_ahead(on_disk, limit)).await
    }

    /// Starts to read the next batch, if there is a whole one on the disk.
    fn read_ahead(&self, on_disk: &mut OnDisk, limit: Load) {
        let wanted = self.with_state(|state| {
            let is_whole = |one: &&Subscriber| one.ahead.load.reaches(limit);
            state.subscribers[self.place].as_ref().filter(is_whole)?;
            self.wanted(state, limit)
        });
        if let (Some(wanted), Some(log)) = (wanted, &self.local.log) {
            on_disk.read_ahead(log, wanted);
        }
    }

    /// The events to read from the log; `None` if all of them are in memory.
    fn wanted(&self, state: &State, limit: Load) -> Option<Wanted> {
        let subscriber = state.subscribers[self.place].as_ref()?;
        if subscriber.is_in_memory(&state.tail) || !self.is_current(state) {
            return None;
        }
        let (from, types) = (subscriber.ahead.next, subscriber.terms.types);
        Some(Wanted { from, end: state.end, types, limit })
    }

    /// Reads the log at the subscriber's position, and passes the events to `take`; `after` runs right after it. `None` if there are
    /// none and never will be.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
    async fn with_chunk<T: Default>(
        &self,
        limit: Load,
        take: impl FnOnce(&mut State, Chunk) -> T,
        after: impl FnOnce(&mut OnDisk),
    ) -> Option<T> {
        let mut on_disk = self.on_disk.lock().await;
        let wanted = self.with_state(|state| match self.wanted(state, limit) {
            Some(wanted) => Ok(wanted),
            None => Err(state.stage < Stage::Closed && self.is_current(state)),
        });
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(goes_on) => return goes_on.then(T::default),
        };
        let chunk = match on_disk.read(self.local.log.as_ref()?, wanted).await? {
            Ok(chunk) => chunk,
            Err(error) => return self.after_error(&error).await,
        };
        self.report_damage(&chunk);
        self.report_undeclared(&chunk);
        let taken = self.with_state(|state| {
            // Another handle may have taken over, or the messages in memory may have been shed, while the log was read.
            let subscriber = state.subscribers[self.place].as_mut();
            let subscriber = subscriber
                .filter(|one| one.generation == self.generation && one.ahead.next == wanted.from)?;
            subscriber.ahead.exact &= chunk.damage.is_none();
            chunk.passed_over.iter().for_each(|part| subscriber.confirmations.lose_all(part));
            Some(take(state, chunk))
        });
        after(&mut on_disk);
        Some(taken.unwrap_or_default())
    }

    async fn after_error<T: Default>(&self, error: &LogError) -> Option<T> {
        tracing::error!("cannot read the log, retrying: {}", error_chain(error));
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
                "skipped {bytes} damaged bytes of the log, messages may be lost to the receiver: {damage}"
            );
        }
    }

    /// Reports for each type, once, that its messages are not delivered; further ones are counted.
    fn report_undeclared(&self, chunk: &Chunk) {
        for (data_type, messages) in &chunk.undeclared {
            self.counts.undeclared.inc_by(*messages);
            if self.undeclared.lock().insert(data_type.clone()) {
                tracing::error!(
                    receiver = &*self.name(),
                    %data_type,
                    messages,
                    "skipped messages in the log whose type is no longer among the declared data types; declare it again to have \
                     the rest delivered, `poa_receiver_undeclared_messages_total` counts them"
                );
            }
        }
    }

    fn name(&self) -> Arc<str> {
        let name = self.with_state(|state| {
            state.subscribers[self.place].as_ref().map(|one| one.terms.name.clone())
        });
        name.unwrap_or_else(|| "".into())
    }

    /// Returns when this much waits, the engine is closed, another handle has taken over, or the deadline has passed.
    async fn wait_for(&self, load: Load, deadline: Option<Instant>) {
        while !self.is_there(load) {
            let rung = self.bell.notified();
            match deadline {
                None => rung.await,
                Some(at) => {
                    if tokio::time::timeout_at(at, rung).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn is_there(&self, load: Load) -> bool {
        self.with_state(|state| {
            let (closed, current) = (state.stage >= Stage::Closed, self.is_current(state));
            let State { subscribers, tail, .. } = state;
            match &mut subscribers[self.place] {
                Some(subscriber) if current => subscriber.want(load, tail) || closed,
                _ => true,
            }
        })
    }

    /// Returns when the messages that were shed are durable, except for as many as memory may hold.
    async fn room_to_shed(&self) {
        let Some(room) = self.with(|subscriber| subscriber.shed.room.clone()) else { return };
        while self.with(|subscriber| subscriber.shed.is_full()) == Some(true) {
            room.notified().await;
        }
    }

    /// Sheds the next messages on the disk that have to be shed.
    async fn shed_on_disk(&self) -> bool {
        let has_to = self.with_state(|state| {
            let subscriber = state.subscribers[self.place].as_ref();
            subscriber.is_some_and(|one| {
                one.has_to_shed(state.end, &state.tail) && !one.is_in_memory(&state.tail)
            })
        });
        let shed = |state: &mut State, chunk: Chunk| {
            let (end, place) = (state.end, self.place);
            let State { subscribers, tail, keys, .. } = state;
            if let Some(subscriber) = &mut subscribers[place] {
                subscriber.shed_first(chunk.stretch, end, tail);
                subscriber.settle(tail, keys);
            }
        };
        has_to && self.with_chunk(AT_ONCE, shed, |_| {}).await.is_some()
    }

    /// Sheds the messages in flight, as far as one read of the log goes.
    async fn shed_in_hand(&self, at: Range<u64>) {
        let Some(log) = self.local.log.clone() else { return };
        let Some(types) = self.with(|subscriber| subscriber.terms.types) else { return };
        let from = at.start;
        let wanted = Wanted { from, end: at.end, types, limit: AT_ONCE };
        match tokio::task::spawn_blocking(move || log.read(None, wanted)).await {
            Ok(Ok((chunk, _))) => {
                let (receiver, messages) = (&*self.name(), chunk.stretch.events.len());
                tracing::warn!(
                    receiver,
                    messages,
                    "shed messages in flight to the receiver, because too much of the log is kept for them"
                );
                self.with_state(|state| {
                    let State { subscribers, tail, keys, .. } = state;
                    if let Some(subscriber) = &mut subscribers[self.place] {
                        subscriber.shed_in_hand(from, chunk.stretch, tail, keys);
                    }
                });
            }
            Ok(Err(error)) => {
                self.after_error::<()>(&error).await;
            }
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Subscription for Handle {
    async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch> {
        let full = Load::of_batch(limits);
        loop {
            self.wait_for(Load { count: 1, bytes: usize::MAX }, None).await;
            self.wait_for(full, Some(Instant::now() + limits.linger.get())).await;
            let batch = self.read_memory(full);
            if !batch.is_empty() {
                return Some(batch);
            }
            let batch = self.read_disk(full).await?;
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    fn confirm(&self, failed: &[u64]) {
        let garbage = self.with_state(|state| {
            if self.is_current(state) { state.confirm(self.place, failed) } else { Vec::new() }
        });
        drop(garbage);
        self.local.has_room();
    }

    fn give_back(&self) {
        self.with(Subscriber::give_back);
    }

    fn abandon(&self) {
        self.with(|subscriber| std::mem::take(&mut subscriber.confirmations));
    }

    fn level(&self) -> Level {
        self.with_state(|state| {
            let Some(subscriber) = &state.subscribers[self.place] else { return Level::default() };
            let load = subscriber.load();
            Level {
                events: load.count as u64,
                bytes: load.bytes as u64,
                oldest: subscriber.waiting_since(&state.tail),
            }
        })
    }

    async fn next_shed(&self) -> Vec<Message> {
        let Some(wake) = self.with(|subscriber| subscriber.shed.wake.clone()) else {
            return std::future::pending().await;
        };
        loop {
            let letters = self.shed();
            if !letters.is_empty() {
                return letters;
            }
            let garbage = self.with_state(State::wake_subscribers);
            drop(garbage);
            let in_hand = self.with_state(|state| {
                let subscriber = state.subscribers[self.place].as_ref()?;
                subscriber.in_hand_to_shed(state.end)
            });
            if let Some(at) = in_hand {
                self.shed_in_hand(at).await;
                continue;
            }
            if self.shed_on_disk().await || !self.shed().is_empty() {
                continue;
            }
            // A message may also become too old without any call.
            let _ = tokio::time::timeout(RETRY, wake.notified()).await;
        }
    }

    fn shed(&self) -> Vec<Message> {
        self.with(|subscriber| subscriber.shed.letters(AT_ONCE.count)).unwrap_or_default()
    }

    fn shed_kept(&self, count: usize) {
        self.with_state(|state| {
            let current = self.is_current(state);
            let State { subscribers, tail, keys, .. } = state;
            if let Some(subscriber) = subscribers[self.place].as_mut().filter(|_| current) {
                subscriber.shed.kept(count);
                subscriber.settle(tail, keys);
            }
        });
        self.local.has_room();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursors::Cursor;
    use crate::opening::OpenLog;
    use crate::pending::Pending;
    use poa_core::engine::{
        Acks, BusSettings, Event, IdGenerator, SubscriptionCounts, SubscriptionRequest,
    };
    use poa_core::telemetry::Telemetry;
    use poa_core::{
        Ack, AgentId, BuildContext, DataTypes, Draft, Message, Payload, ReceiverOptions, Timestamp,
    };

    /// An engine on a log with ten messages.
    fn engine(dir: &std::path::Path) -> Arc<Local> {
        let types = DataTypes::new(["a"]).unwrap();
        let mut open = OpenLog::open(dir, types.clone(), poa_log::Options::default()).unwrap();
        let mut ids = IdGenerator::new();
        let mut pending = Pending::default();
        for _ in 0..10 {
            let now = Timestamp::now();
            let payload = Payload::json(&serde_json::json!({})).unwrap();
            let agent = AgentId::new("agent").unwrap();
            let draft = Draft::new(agent, types.get("a").unwrap().clone(), payload);
            pending.push(Event::Message(Message::stamp(draft, ids.next(now), now)), None);
        }
        open.log.append(pending.encoded()).unwrap();
        let cx = BuildContext::detached("log", dir).with_data_types(types);
        let past = open.past(cx.bus().keys);
        Local::on_log(&cx, open.readers(), open.end(), past)
    }

    /// A handle with all of them in its backlog, as far as is known.
    fn handle_with(engine: &Arc<Local>, messages: usize) -> Handle {
        let left = Cursor { messages, bytes: 100 * messages, ..Cursor::default() };
        let options = ReceiverOptions::subscribe(["a"]);
        let types = engine.log.as_ref().unwrap().types.iter().collect();
        let request = SubscriptionRequest::new("r", types, &options);
        engine.state.lock().unsubscribe("r");
        engine.subscribe(&request, options.backlog, Some(left))
    }

    fn handle(engine: &Arc<Local>) -> Handle {
        handle_with(engine, 10)
    }

    fn positions(batch: Batch) -> Vec<u64> {
        batch.into_iter().map(|(position, _)| position).collect()
    }

    fn limits(size: usize) -> BatchLimits {
        let mut limits = BatchLimits::default();
        (limits.size, limits.linger) = (size, Duration::ZERO.into());
        limits
    }

    async fn next(handle: &Handle, size: usize) -> Vec<u64> {
        positions(handle.next_batch(&limits(size)).await.unwrap())
    }

    async fn ahead(handle: &Handle) -> Option<u64> {
        handle.on_disk.lock().await.ahead_from()
    }

    #[tokio::test]
    async fn the_next_whole_batch_is_read_while_one_is_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path());
        let all = next(&handle(&engine), 10).await;
        assert_eq!(all.len(), 10);
        let handle = handle(&engine);
        assert_eq!(next(&handle, 4).await, all[..4]);
        assert_eq!(ahead(&handle).await, Some(all[4]));
        handle.confirm(&[]);
        assert_eq!(next(&handle, 4).await, all[4..8]);
        assert_eq!(ahead(&handle).await, None, "two are not a whole batch");
        handle.confirm(&[]);
        assert_eq!(next(&handle, 4).await, all[8..]);
    }

    #[tokio::test]
    async fn the_read_ahead_is_dropped_when_the_receiver_continues_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path());
        let all = next(&handle(&engine), 10).await;
        let handle = handle(&engine);
        assert_eq!(next(&handle, 2).await, all[..2]);
        assert_eq!(ahead(&handle).await, Some(all[2]));
        // As when the first events are shed.
        handle.with(|subscriber| subscriber.ahead.next = all[7]);
        assert_eq!(next(&handle, 2).await, all[7..9]);
        assert_eq!(next(&handle, 3).await, all[9..], "another limit");
    }

    /// The events after the first batch are in memory when it is handed out, and only on the disk afterwards.
    #[tokio::test]
    async fn a_receiver_that_falls_behind_the_memory_continues_at_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let types = DataTypes::new(["a"]).unwrap();
        let open = OpenLog::open(dir.path(), types.clone(), poa_log::Options::default()).unwrap();
        let acks = Acks::new(&types, |_| Ack::Stored, Duration::from_secs(60));
        let cx = BuildContext::detached("log", dir.path()).with_data_types(types.clone());
        let cx = cx.with_bus(BusSettings::new(acks));
        let past = open.past(cx.bus().keys);
        let engine = Local::on_log(&cx, open.readers(), open.end(), past);
        let counts = SubscriptionCounts::default();
        let options = ReceiverOptions::subscribe(["a"]);
        let request = SubscriptionRequest::new("r", types.iter().collect(), &options)
            .with_counts(counts.clone());
        let handle = engine.subscribe(&request, options.backlog, None);
        let ended = crate::commit::start(open, engine.clone(), &Telemetry::default()).unwrap();
        engine.open();
        let publish = async || {
            // More than memory holds, after a few.
            let payload = Payload::json(&serde_json::json!({ "pad": "x".repeat(3 << 20) }));
            let agent = AgentId::new("agent").unwrap();
            let draft = Draft::new(agent, types.get("a").unwrap().clone(), payload.unwrap());
            engine.publish(draft.into()).unwrap().await.unwrap();
        };
        for _ in 0..2 {
            publish().await;
        }
        let mut found = next(&handle, 1).await.len();
        for _ in 0..8 {
            publish().await;
        }
        while found < 10 {
            handle.confirm(&[]);
            found += next(&handle, 4).await.len();
        }
        handle.confirm(&[]);
        assert_eq!((found, handle.level().events, counts.damaged.get()), (10, 0, 0));
        engine.close();
        engine.finish();
        ended.await.unwrap();
    }

    /// A cursor's counts are estimates: after a crash they may be far too low.
    #[tokio::test]
    async fn the_backlog_is_handed_out_whatever_the_cursor_counted() {
        for counted in [0, 3, 1000] {
            let dir = tempfile::tempdir().unwrap();
            let engine = engine(dir.path());
            let handle = handle_with(&engine, counted);
            let mut found = 0;
            while found < 10 {
                found += next(&handle, 4).await.len();
                handle.confirm(&[]);
            }
            assert_eq!((found, handle.level().events), (10, 0), "{counted}");
        }
    }
}
