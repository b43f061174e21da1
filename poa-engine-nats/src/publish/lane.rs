//! The lane of a partition.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use poa_core::engine::{ReceiptError, Refused, trace};
use poa_core::{Ack, AgentId};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::in_flight::InFlight;
use super::item::{Content, Item};
use super::round::{Parcel, parcels};
use super::turns::Turns;
use crate::cluster::Cluster;
use crate::contact::Stored;
use crate::failure::Failure;
use crate::pack::{self, Position};

/// The header of a message that a front end waits for until it is delivered.
pub(crate) const WAITS: &str = "Poa-Waits";
/// The most bytes in a publish of several records.
pub(super) const PARCEL: usize = 256 << 10;
/// How long to wait before a publish that nothing took is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// The queue of one partition.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// How many of them have a key.
    keyed: usize,
    /// The last change of each agent for which there was no room.
    changes: HashMap<AgentId, Item>,
}

impl Lane {
    pub(crate) fn push(&self, item: Item) {
        let mut queue = self.queue.lock();
        queue.keyed += usize::from(item.is_keyed());
        queue.items.push_back(item);
        drop(queue);
        self.filled.notify_one();
    }

    /// Keeps a change of activity until there is room for it, and forgets an earlier one of the same agent.
    pub(crate) fn keep_change(&self, item: Item) {
        self.queue.lock().changes.insert(item.agent.clone(), item);
        self.filled.notify_one();
    }

    /// The records that may be sent now, beside those in flight; `turn`: also those without a key. Changes that were kept count as queued
    /// from here on.
    fn take(&self, in_flight: &mut InFlight, turn: bool, queued: &AtomicUsize) -> Vec<Item> {
        let mut queue = self.queue.lock();
        if queue.items.is_empty() {
            let changes = std::mem::take(&mut queue.changes);
            queued.fetch_add(changes.values().map(Item::size).sum(), Relaxed);
            queue.items.extend(changes.into_values());
        }
        let only_packed = queue.keyed == 0 && !queue.items.is_empty();
        if only_packed && !(turn && in_flight.may_pack()) {
            // Not looked at one by one, as this is done with every message that comes.
            in_flight.hold_packed();
            return Vec::new();
        }
        let taken = in_flight.choose(&mut queue.items, turn);
        queue.keyed -= taken.iter().filter(|item| item.is_keyed()).count();
        taken
    }
}

/// Sends what is in the lanes.
pub(crate) struct Sender {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) lanes: Vec<Lane>,
    /// The bytes in all lanes and on their way.
    pub(crate) queued: AtomicUsize,
    /// Messages that were promised no more than memory and could not be stored.
    pub(crate) lost: AtomicUsize,
    /// The turns of messages without a key.
    pub(crate) turns: Arc<Turns>,
    /// Told when something was stored or refused.
    pub(crate) room: Notify,
    /// Until when the stream counts as full.
    pub(crate) full_until: Mutex<Option<Instant>>,
}

impl Sender {
    /// Sends the lane of this partition. Never ends.
    pub(crate) async fn run(self: Arc<Self>, partition: u16) {
        let lane = &self.lanes[usize::from(partition)];
        let most_bytes = PARCEL.min(self.cluster.most_payload());
        let (mut in_flight, mut sending) = (InFlight::default(), FuturesUnordered::new());
        let (mut may_follow, mut last) = (true, None);
        loop {
            let (filled, begins) = (lane.filled.notified(), self.turns.begins());
            tokio::pin!(begins);
            // Before the turn is asked for: it may end meanwhile.
            begins.as_mut().enable();
            let turn = self.turns.permit(last);
            let items = match may_follow || turn && in_flight.waits_for_turn() {
                true => lane.take(&mut in_flight, turn, &self.queued),
                false => Vec::new(),
            };
            for parcel in parcels(items, &self.cluster.names, partition, most_bytes) {
                let load = in_flight.add(&parcel.items);
                let seat = parcel.key.is_none().then(|| self.turns.join());
                last = seat.as_ref().map(|seat| seat.number).or(last);
                // Sent in the order of this list: new ones are polled in the order in which they were added.
                sending.push(self.send(partition, parcel).map(|()| (load, seat)));
            }
            let waits = in_flight.waits_for_turn();
            may_follow = tokio::select! {
                () = filled => true,
                () = begins, if waits => false,
                () = self.turns.overdue(), if waits => false,
                Some((load, seat)) = sending.next() => {
                    drop(seat);
                    self.queued.fetch_sub(load.bytes(), Relaxed);
                    self.room.notify_waiters();
                    in_flight.remove(&load)
                }
            };
        }
    }

    /// Waits until everything has been sent, or given up.
    pub(crate) async fn drained(&self) {
        loop {
            let room = self.room.notified();
            if self.queued.load(Relaxed) == 0 {
                return;
            }
            room.await;
        }
    }

    async fn send(&self, partition: u16, parcel: Parcel) {
        let stored = self.deliver(&parcel).await;
        let outcome = match stored {
            Ok(stored) if stored.duplicate => self.duplicate(&parcel, stored).await,
            Ok(stored) => Ok(stored),
            Err(failure) => Err(self.failed(&parcel, &failure)),
        };
        match outcome {
            Ok(stored) => self.settle(partition, parcel, stored),
            Err(error) => {
                self.refuse(parcel, error);
                // Changes of activity wait in the lane again, and the servers shall not be flooded with them.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Publishes until it is stored, or the time is over, or it cannot be known whether it is.
    async fn deliver(&self, parcel: &Parcel) -> Result<Stored, Failure> {
        let deadline = Instant::now() + self.cluster.settings.store_timeout;
        let within = self.cluster.settings.ack_timeout;
        let stream = self.cluster.names.stream();
        loop {
            let (subject, payload) = (parcel.subject.clone(), parcel.payload.clone());
            let sent =
                self.cluster.contact.publish(&stream, subject, headers(parcel), payload, within);
            let failure = match sent.await {
                Ok(stored) => return Ok(stored),
                Err(failure) => failure,
            };
            // With an id, the servers tell a repetition from another message.
            let may_repeat = failure.is_safe_to_repeat()
                || parcel.key.is_some() && failure == Failure::Unanswered;
            if !may_repeat || Instant::now() + PAUSE > deadline {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The servers know this id: the message was sent before, or another one with the same key.
    async fn duplicate(&self, parcel: &Parcel, stored: Stored) -> Result<Stored, ReceiptError> {
        let first = self.original(stored.sequence).await;
        let ours = parcel.items.first().and_then(|item| trace(&item.record));
        let (Some(first), Some(ours)) = (first, ours) else {
            // It was purged after every receiver had confirmed it: its content and id are not known any more.
            return Ok(stored);
        };
        if first.key != ours.key {
            return Err(Refused::KeyReused.into());
        }
        if first.id != ours.id {
            self.cluster.bus.counts.repeated.inc();
            parcel.calls().for_each(|call| call.was_accepted_as(first.id));
        }
        Ok(stored)
    }

    async fn original(&self, sequence: u64) -> Option<poa_core::engine::Trace> {
        let subject = format!("STREAM.MSG.GET.{}", self.cluster.names.stream());
        let found: crate::bucket::Found =
            self.cluster.contact.api(&subject, &json!({ "seq": sequence })).await.ok()?;
        let record = pack::records(found.payload()).next()??;
        trace(&record)
    }

    fn failed(&self, parcel: &Parcel, failure: &Failure) -> ReceiptError {
        match failure {
            Failure::Full(why) => self.full(why),
            Failure::TooLarge => {
                let (bytes, limit) = (parcel.payload.len(), self.cluster.most_payload());
                Refused::TooLarge { bytes, limit }.into()
            }
            failure => {
                tracing::warn!("cannot store messages: {failure}");
                ReceiptError::NotStored
            }
        }
    }

    fn full(&self, why: &str) -> ReceiptError {
        let until = Instant::now() + Duration::from_secs(1);
        if self.full_until.lock().replace(until).is_none() {
            tracing::error!(
                "refusing messages: {why}; raise max_bytes, or see which receiver is behind"
            );
        }
        Refused::Unavailable("the stream is full".into()).into()
    }

    fn settle(&self, partition: u16, parcel: Parcel, stored: Stored) {
        self.full_until.lock().take();
        for (index, item) in parcel.items.into_iter().enumerate() {
            let Content::Message { data_type, ack, call: Some(call), .. } = item.content else {
                continue;
            };
            if ack == Ack::Delivered {
                let position = Position::new(stored.sequence, index);
                self.cluster.deliveries.wait(&self.cluster, partition, position, &data_type, call);
            } else {
                call.settle(Ok(()));
            }
        }
    }

    fn refuse(&self, parcel: Parcel, error: ReceiptError) {
        for item in parcel.items {
            match item.content {
                Content::Message { call: Some(call), .. } => call.settle(Err(error.clone())),
                Content::Message { call: None, .. } => {
                    self.lost.fetch_add(1, Relaxed);
                }
                Content::Activity => {
                    let partition = self.cluster.names.partition_of(&item.agent);
                    self.lanes[usize::from(partition)].keep_change(item);
                }
            }
        }
    }
}

/// Without any, the message costs the servers and its readers least.
fn headers(parcel: &Parcel) -> Option<HeaderMap> {
    if parcel.key.is_none() && !parcel.urgent {
        return None;
    }
    let mut headers = HeaderMap::new();
    if let Some(key) = parcel.key {
        headers.insert(NATS_MESSAGE_ID, hex(key.as_bytes()));
    }
    if parcel.urgent {
        headers.insert(WAITS, "1");
    }
    Some(headers)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}
