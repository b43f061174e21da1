//! Messages of another engine, moved into the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use futures_util::future::try_join_all;
use poa_core::engine::{Event, KeyWindow, SharedStore, SubscriptionRequest, encode};
use poa_core::{BuildError, Message};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::cluster::StreamInfo;
use crate::config::Config;
use crate::connect::connect;
use crate::contact::Contact;
use crate::failure::Failure;
use crate::layout::{self, unavailable};
use crate::names::Names;
use crate::registration::Registration;
use crate::{node, pack, prove, store};

/// How long a message is tried to be stored.
const WITHIN: Duration = Duration::from_secs(60);
/// The time before a message is sent again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an acknowledgement may take.
const ACK: Duration = Duration::from_secs(5);

/// Stores messages of another engine under the ids that they have, and registers receivers where they are to begin.
pub struct Import {
    contact: Contact,
    names: Names,
    receivers: Bucket,
    node: String,
}

impl Import {
    /// Connects, checks that the servers keep their promises, and sets up the stream. `data_dir` is that of the node that is to run there.
    ///
    /// # Errors
    /// As for the start of the engine.
    pub async fn open(
        config: &Config,
        keys: KeyWindow,
        data_dir: &Path,
    ) -> Result<Self, BuildError> {
        let contact = connect(config).await?;
        prove::prove(&contact, config).await?;
        let names = Names::new(&config.prefix, config.partitions);
        layout::prepare(&contact, config, &names, keys).await?;
        let receivers = Bucket::new(contact.clone(), names.receivers());
        let node = config.node.clone().map_or_else(|| node::name(data_dir), Ok)?;
        Ok(Self { contact, names, receivers, node })
    }

    /// Stores messages, those of one agent in this order. Returns the sequence of the first of them in the stream.
    ///
    /// Messages that were stored before, within the window of idempotency keys, are not stored again.
    ///
    /// # Errors
    /// When the servers do not store a message for a minute. Some of the others are stored then.
    pub async fn store(&self, messages: &[Message]) -> Result<Option<u64>, BuildError> {
        let mut partitions: BTreeMap<u16, Vec<&Message>> = BTreeMap::new();
        for message in messages {
            let partition = self.names.partition_of(message.agent_id());
            partitions.entry(partition).or_default().push(message);
        }
        let all = partitions.into_iter().map(|(partition, all)| self.store_in(partition, all));
        let first = try_join_all(all).await;
        let first = first.map_err(|why| unavailable("store the messages", &why))?;
        Ok(first.into_iter().flatten().min())
    }

    /// One after the other, because the messages of an agent keep their order.
    async fn store_in(
        &self,
        partition: u16,
        messages: Vec<&Message>,
    ) -> Result<Option<u64>, Failure> {
        let mut first = None;
        for message in messages {
            let sequence = self.store_one(partition, message).await?;
            first = Some(first.map_or(sequence, |first: u64| first.min(sequence)));
        }
        Ok(first)
    }

    async fn store_one(&self, partition: u16, message: &Message) -> Result<u64, Failure> {
        let (mut record, mut payload) = (Vec::new(), Vec::new());
        encode(&Event::Message(message.clone()), &mut record);
        pack::push(&record, &mut payload);
        let payload = bytes::Bytes::from(payload);
        let (stream, deadline) = (self.names.stream(), tokio::time::Instant::now() + WITHIN);
        loop {
            let subject = self.names.messages(partition, message.data_type().name());
            let headers = Some(Self::headers(message));
            match self.contact.publish(&stream, subject, headers, payload.clone(), ACK).await {
                Ok(stored) => return Ok(stored.sequence),
                // With its id, a repetition is told from another message.
                Err(failure) if tokio::time::Instant::now() > deadline => return Err(failure),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn headers(message: &Message) -> HeaderMap {
        let id = match message.idempotency_key() {
            Some(key) => crate::publish::hex(key.as_bytes()),
            None => message.id().to_string(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        headers
    }

    /// The last sequence of the stream.
    ///
    /// # Errors
    /// When the servers cannot be asked.
    pub async fn last(&self) -> Result<u64, BuildError> {
        let subject = format!("STREAM.INFO.{}", self.names.stream());
        let info: Result<StreamInfo, _> = self.contact.api(&subject, &Value::Null).await;
        Ok(info.map_err(|why| unavailable("find the end of the stream", &why))?.state.last_seq)
    }

    /// Registers a receiver that is done with everything up to this sequence of the stream. One that is registered stays where it is.
    ///
    /// # Errors
    /// When the servers do not write it.
    pub async fn register(
        &self,
        request: &SubscriptionRequest,
        types: BTreeSet<String>,
        done: u64,
    ) -> Result<(), BuildError> {
        let registration = Registration::new(request, types, done, &self.node);
        let written = registration.write(&self.receivers, &request.name).await;
        written.map(drop).map_err(|why| unavailable("register the receiver", &why))
    }

    /// The store that the nodes share.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn SharedStore> {
        store::Shared::new(self.contact.clone(), &self.names)
    }
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("stream", &self.names.stream()).finish_non_exhaustive()
    }
}
