//! The cluster as an operator sees it, from outside of any node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::try_join_all;
use poa_core::engine::SharedStore;
use poa_core::{BuildError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::cluster::StreamState;
use crate::config::Config;
use crate::connect::connect;
use crate::contact::Contact;
use crate::cursor::Cursor;
use crate::failure::Failure;
use crate::layout::unavailable;
use crate::names::{self, Names};
use crate::registration::{self, Registration, receiver_of};
use crate::store;

/// Asks the servers about streams, receivers and nodes, and removes receivers. Needs no running node.
pub struct Admin {
    contact: Contact,
    names: Names,
    receivers: Bucket,
}

/// A receiver of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReceiverState {
    /// Its name.
    pub name: String,
    /// The data types it subscribes to.
    pub data_types: BTreeSet<String>,
    /// The nodes that are configured to run it, running or not.
    pub nodes: BTreeSet<String>,
    /// How many partitions each node holds now.
    pub held: BTreeMap<String, u32>,
    /// How many partitions no node holds.
    pub free: u32,
    /// About how many messages wait for it.
    pub backlog_messages: u64,
    /// About how many bytes wait for it.
    pub backlog_bytes: u64,
    /// When the oldest message of the backlog was received, as far as the nodes have read.
    pub oldest: Option<Timestamp>,
    /// When a node last wrote one of its cursors.
    pub last_confirmed: Option<Timestamp>,
}

/// The stream that holds the messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// The server that leads it, in a cluster.
    pub leader: Option<String>,
    /// The other servers that store it, and whether each is up to date.
    pub replicas: BTreeMap<String, bool>,
    /// How many messages of JetStream it holds; several messages may share one.
    pub messages: u64,
    /// How many bytes it holds on each server.
    pub bytes: u64,
    /// The most bytes it may hold.
    pub max_bytes: u64,
}

impl Admin {
    /// Connects to the servers of this configuration.
    ///
    /// # Errors
    /// When no server takes the connection, or the credentials are refused.
    pub async fn connect(config: &Config) -> Result<Self, BuildError> {
        let contact = connect(config).await?;
        let names = Names::new(&config.prefix, config.partitions);
        let receivers = Bucket::new(contact.clone(), names.receivers());
        Ok(Self { contact, names, receivers })
    }

    /// The stream.
    ///
    /// # Errors
    /// When it cannot be asked for.
    pub async fn stream(&self) -> Result<StreamStatus, BuildError> {
        let name = self.names.stream();
        let info = self
            .info()
            .await
            .map_err(|why| unavailable(&format!("find the stream {name}"), &why))?;
        let Info { state, config, cluster } = info;
        let cluster = cluster.unwrap_or_default();
        let replicas = cluster.replicas.unwrap_or_default().into_iter();
        Ok(StreamStatus {
            name,
            leader: cluster.leader,
            replicas: replicas.map(|peer| (peer.name, peer.current && !peer.offline)).collect(),
            messages: state.messages,
            bytes: state.bytes,
            max_bytes: u64::try_from(config.max_bytes).unwrap_or(0),
        })
    }

    /// The store that the nodes share: users, bans and active agents.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn SharedStore> {
        store::Shared::new(self.contact.clone(), &self.names)
    }

    /// All receivers, by name.
    ///
    /// # Errors
    /// When the servers cannot be asked.
    pub async fn receivers(&self) -> Result<Vec<ReceiverState>, BuildError> {
        let read = async {
            let state = self.info().await?.state;
            let keys = self.receivers.keys("r.*").await?;
            let names = keys.iter().filter_map(|key| Some(receiver_of(key)?.0));
            let states = try_join_all(names.map(|name| self.receiver(name, state))).await?;
            Ok(states.into_iter().flatten().collect())
        };
        let found: Result<Vec<ReceiverState>, Failure> = read.await;
        let mut found = found.map_err(|why| unavailable("list the receivers", &why))?;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    async fn receiver(
        &self,
        name: String,
        stream: StreamState,
    ) -> Result<Option<ReceiverState>, Failure> {
        let slot = self.receivers.read(&names::registration(&name)).await?;
        let Some(found) = slot.value.as_deref().and_then(Registration::parse) else {
            return Ok(None);
        };
        let partitions = self.names.partitions().map(|partition| self.partition(&name, partition));
        let partitions = try_join_all(partitions).await?;
        let mut state = ReceiverState {
            name,
            data_types: found.types.clone(),
            nodes: found.nodes.clone(),
            held: BTreeMap::new(),
            free: 0,
            backlog_messages: 0,
            backlog_bytes: 0,
            oldest: None,
            last_confirmed: None,
        };
        let mut reached = found.from();
        for (cursor, owner) in partitions {
            reached = reached.max(cursor.as_ref().map_or(reached, Cursor::position));
            state.add(cursor, owner);
        }
        if state.held.is_empty() {
            // No node has counted: what came after the last cursor is known by the numbers of the stream alone.
            let behind = stream.last_seq.saturating_sub(reached.sequence()).min(stream.messages);
            let average = stream.bytes.checked_div(stream.messages).unwrap_or(0);
            state.backlog_messages = state.backlog_messages.max(behind);
            state.backlog_bytes = state.backlog_bytes.max(behind * average);
        }
        Ok(Some(state))
    }

    async fn partition(
        &self,
        receiver: &str,
        partition: u16,
    ) -> Result<(Option<Cursor>, Option<String>), Failure> {
        let cursor = self.receivers.read(&names::cursor(receiver, partition)).await?;
        let lease = self.receivers.read(&names::lease(receiver, partition)).await?;
        let owner = lease.value.as_deref().and_then(crate::lease::owner);
        Ok((cursor.value.as_deref().and_then(Cursor::parse), owner))
    }

    /// Removes a receiver and its cursors: its backlog is discarded, and no longer keeps messages in the stream.
    ///
    /// # Errors
    /// When there is no such receiver, a node still runs it, or the servers cannot be asked.
    pub async fn forget(&self, receiver: &str) -> Result<ReceiverState, BuildError> {
        let all = self.receivers().await?;
        let Some(found) = all.into_iter().find(|found| found.name == receiver) else {
            return Err(BuildError::failed(format!(
                "the cluster has no receiver `{receiver}`; `poa-server receivers list` shows them"
            )));
        };
        if !found.held.is_empty() {
            let nodes: Vec<_> = found.held.keys().map(String::as_str).collect();
            return Err(BuildError::failed(format!(
                "receiver `{receiver}` runs on {}; remove it from their configuration first",
                nodes.join(", ")
            )));
        }
        let forgotten = registration::forget(&self.receivers, receiver).await;
        forgotten.map_err(|why| unavailable("forget the receiver", &why))?;
        Ok(found)
    }

    async fn info(&self) -> Result<Info, Failure> {
        let subject = format!("STREAM.INFO.{}", self.names.stream());
        self.contact.api(&subject, &Value::Null).await
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("stream", &self.names.stream()).finish_non_exhaustive()
    }
}

impl ReceiverState {
    fn add(&mut self, cursor: Option<Cursor>, owner: Option<String>) {
        match owner {
            Some(owner) => *self.held.entry(owner).or_default() += 1,
            None => self.free += 1,
        }
        let Some(cursor) = cursor else { return };
        self.backlog_messages += cursor.waiting;
        self.backlog_bytes += cursor.waiting_bytes;
        let oldest = cursor.oldest.map(Timestamp::from_micros);
        self.oldest = [self.oldest, oldest].into_iter().flatten().min();
        let written = (cursor.written > 0).then(|| Timestamp::from_micros(cursor.written));
        self.last_confirmed = self.last_confirmed.max(written);
    }
}

#[derive(Deserialize)]
struct Info {
    state: StreamState,
    config: InfoConfig,
    #[serde(default)]
    cluster: Option<InfoCluster>,
}

#[derive(Deserialize)]
struct InfoConfig {
    #[serde(default)]
    max_bytes: i64,
}

#[derive(Default, Deserialize)]
struct InfoCluster {
    #[serde(default)]
    leader: Option<String>,
    #[serde(default)]
    replicas: Option<Vec<Peer>>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
}
