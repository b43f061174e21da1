//! The state that all parts of the engine share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use poa_core::engine::BusSettings;
use poa_core::{DataType, DataTypes, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::contact::Contact;
use crate::cursor::Cursor;
use crate::deliveries::Deliveries;
use crate::failure::Failure;
use crate::mirror::{Changed, Mirror};
use crate::names::{self, Names};
use crate::registration::{Registration, receiver_of};
use crate::subscription::Receiver;

/// The bytes of a publish besides its records.
const ENVELOPE: usize = 1024;

/// The state that all parts of the engine share.
pub(crate) struct Cluster {
    pub(crate) contact: Contact,
    pub(crate) names: Names,
    pub(crate) receivers: Bucket,
    pub(crate) mirror: Mirror,
    pub(crate) types: DataTypes,
    pub(crate) bus: BusSettings,
    pub(crate) settings: Settings,
    pub(crate) deliveries: Deliveries,
    pub(crate) levels: RwLock<Levels>,
    /// The receivers that are registered, as the mirror has them.
    pub(crate) registry: RwLock<Registrations>,
    /// The data types of receivers of this node alone, by receiver.
    pub(crate) each: RwLock<BTreeMap<String, BTreeSet<String>>>,
    /// The receivers that run on this node.
    pub(crate) running: RwLock<HashMap<String, Weak<Receiver>>>,
}

/// The receivers of all nodes, by name.
pub(crate) type Registrations = Arc<[(String, Registration)]>;

/// The numbers of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) node: String,
    pub(crate) ack_timeout: Duration,
    pub(crate) store_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) max_bytes: u64,
    pub(crate) max_in_memory: usize,
}

/// How full the stream is, and which receiver is too far behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) stream: StreamInfo,
    /// The receivers because of which messages of their types are refused.
    pub(crate) full: Vec<(String, BTreeSet<String>)>,
}

/// The state of a stream as the API gives it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) last_seq: u64,
}

/// A stream as the API describes it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) state: StreamState,
    #[serde(default)]
    cluster: Option<ClusterInfo>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ClusterInfo {
    #[serde(default)]
    leader: Option<String>,
}

impl StreamInfo {
    /// The server that leads the stream, where there is more than one.
    pub(crate) fn leader(&self) -> Option<&str> {
        self.cluster.as_ref()?.leader.as_deref()
    }
}

impl Cluster {
    /// The most bytes of records that fit into one publish.
    pub(crate) fn most_payload(&self) -> usize {
        self.contact.client().max_payload().saturating_sub(ENVELOPE)
    }

    /// The state of the stream, as its leader has it.
    pub(crate) async fn stream_state(&self) -> Result<StreamState, Failure> {
        Ok(self.stream_info().await?.state)
    }

    async fn stream_info(&self) -> Result<StreamInfo, Failure> {
        let subject = format!("STREAM.INFO.{}", self.names.stream());
        self.contact.api(&subject, &Value::Null).await
    }

    /// All receivers that are registered.
    pub(crate) fn registrations(&self) -> Registrations {
        self.registry.read().clone()
    }

    /// Reads the registrations again.
    pub(crate) fn refresh_registry(&self) {
        let parse = |(key, value): (String, bytes::Bytes)| {
            Some((receiver_of(&key)?.0, Registration::parse(&value)?))
        };
        let mut registry = self.registry.write();
        *registry = self.mirror.below("r.").into_iter().filter_map(parse).collect();
    }

    /// Whether a receiver that all nodes know, or one of this node, subscribes to a data type.
    pub(crate) fn is_routed(&self, data_type: &DataType) -> bool {
        let name = data_type.name();
        let each = self.each.read();
        each.values().any(|types| types.contains(name))
            || self.registrations().iter().any(|(_, found)| found.types.contains(name))
    }

    /// The receivers that `ack = "delivered"` waits for: the critical ones, or all if none is critical.
    pub(crate) fn receivers_that_count(&self, data_type: &DataType) -> Vec<String> {
        let all = self.registrations();
        let has_type = |found: &&(String, Registration)| found.1.types.contains(data_type.name());
        let of_type = || all.iter().filter(has_type);
        let any_critical = of_type().any(|(_, registration)| registration.critical);
        let counts = of_type().filter(|(_, registration)| registration.critical || !any_critical);
        counts.map(|(receiver, _)| receiver.clone()).collect()
    }

    pub(crate) fn cursor_of(&self, receiver: &str, partition: u16) -> Option<Cursor> {
        Cursor::parse(&self.mirror.get(&names::cursor(receiver, partition))?)
    }

    /// Takes in a change of the bucket.
    pub(crate) fn changed(&self, changed: &Changed<'_>) {
        let Some((receiver, partition)) = receiver_of(changed.key) else { return };
        match (changed.key.as_bytes().first(), &changed.slot.value, partition) {
            (Some(b'c'), Some(value), Some(partition)) => {
                if let Some(cursor) = Cursor::parse(value) {
                    self.deliveries.moved(&receiver, partition, &cursor);
                }
            }
            (Some(b'r'), value, _) => {
                self.refresh_registry();
                if value.is_none() {
                    self.deliveries.forgotten(&receiver);
                }
            }
            // A lease is free, or a node has come or gone.
            (Some(b'l'), None, _) | (Some(b'm'), ..) => self.wake(&receiver),
            _ => {}
        }
    }

    fn wake(&self, receiver: &str) {
        if let Some(running) = self.running.read().get(receiver).and_then(Weak::upgrade) {
            running.wake();
        }
    }

    /// From now on, this receiver is told when a lease may be free.
    pub(crate) fn wake_on_release(&self, receiver: &Arc<Receiver>) {
        self.running.write().insert(receiver.name().to_owned(), Arc::downgrade(receiver));
    }

    /// A receiver was forgotten by this node: takes note before the mirror does.
    pub(crate) async fn forgotten(&self, receiver: &str) {
        let key = names::registration(receiver);
        if let Ok(slot) = self.receivers.read(&key).await {
            self.mirror.put(&key, slot);
        }
        self.refresh_registry();
        self.deliveries.forgotten(receiver);
    }

    /// The nodes that hold each receiver, and its backlog.
    pub(crate) fn receivers_status(&self) -> BTreeMap<String, Value> {
        let state = self.levels.read().stream.state;
        let all = self.registrations();
        let status = |(receiver, registration): &(String, Registration)| {
            let (bytes, oldest) = self.backlog_of(receiver, registration, state);
            let waiting: u64 = self
                .names
                .partitions()
                .filter_map(|partition| Some(self.cursor_of(receiver, partition)?.waiting))
                .sum();
            let value = json!({
                "nodes": registration.nodes,
                "held": self.holders(receiver),
                "backlog_messages": waiting,
                "backlog_bytes": bytes,
                "oldest_micros": oldest,
            });
            (receiver.clone(), value)
        };
        all.iter().map(status).collect()
    }

    /// How many partitions each node holds.
    fn holders(&self, receiver: &str) -> BTreeMap<String, u32> {
        let mut holders = BTreeMap::new();
        for partition in self.names.partitions() {
            let value = self.mirror.get(&names::lease(receiver, partition));
            if let Some(owner) = value.and_then(|value| crate::lease::owner(&value)) {
                *holders.entry(owner).or_default() += 1;
            }
        }
        holders
    }

    /// Looks at the stream and at all cursors, and finds the receivers that are too far behind.
    pub(crate) async fn look(&self) -> Result<(), Failure> {
        let stream = self.stream_info().await?;
        let (state, now) = (stream.state, Timestamp::now());
        let all = self.registrations();
        let is_full =
            |found: &&(String, Registration)| self.is_full(&found.0, &found.1, state, now);
        let full = all.iter().filter(is_full);
        let full = full.map(|(name, found)| (name.clone(), found.types.clone())).collect();
        *self.levels.write() = Levels { stream, full };
        Ok(())
    }

    fn is_full(
        &self,
        receiver: &str,
        registration: &Registration,
        state: StreamState,
        now: Timestamp,
    ) -> bool {
        if !registration.refuse {
            return false;
        }
        let (bytes, oldest) = self.backlog_of(receiver, registration, state);
        let max_bytes = registration.max_bytes.unwrap_or(self.settings.max_bytes / 2);
        let max_age = registration.max_age_ms.map(Duration::from_millis);
        let age =
            oldest.map(|oldest| Duration::from_micros(now.as_micros().saturating_sub(oldest)));
        bytes >= max_bytes || max_age.zip(age).is_some_and(|(most, age)| age >= most)
    }

    /// About how many bytes wait for a receiver, and since when, in microseconds since 1970.
    pub(crate) fn backlog_of(
        &self,
        receiver: &str,
        registration: &Registration,
        state: StreamState,
    ) -> (u64, Option<u64>) {
        let cursors: Vec<_> = self
            .names
            .partitions()
            .map(|partition| self.cursor_of(receiver, partition))
            .map(|cursor| cursor.unwrap_or_else(|| Cursor::at(registration.from())))
            .collect();
        let told: u64 = cursors.iter().map(|cursor| cursor.waiting_bytes).sum();
        let oldest = cursors.iter().filter_map(|cursor| cursor.oldest).min();
        if !self.holders(receiver).is_empty() {
            return (told, oldest);
        }
        // No node runs it: what came behind its cursors is known by the numbers of the stream alone.
        let reached = cursors.iter().map(|cursor| cursor.position().sequence()).max().unwrap_or(0);
        let behind = state.last_seq.saturating_sub(reached).min(state.messages);
        let average = state.bytes.checked_div(state.messages).unwrap_or(0);
        // At the earliest when a cursor was written for the last time.
        let left = cursors.iter().map(|cursor| cursor.written).max().filter(|at| *at > 0);
        let oldest = oldest.or(left.filter(|_| behind > 0));
        (told.max(behind.saturating_mul(average)), oldest)
    }
}
