//! A node of poa in this process: the engine alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use poa_core::engine::{
    Acks, BusSettings, Engine as _, Event, Subscription, SubscriptionRequest, TypeSet, Unrouted,
};
use poa_core::{
    Ack, AgentId, BatchLimits, BuildContext, DataTypes, Draft, Format, IdempotencyKey, Payload,
    Plugin as _, ReadFrom, ReceiverOptions,
};
use poa_engine_nats::{Config, Nats};
use poa_test_nats::Servers;
use tempfile::TempDir;

use super::raw::PARTITIONS;
use crate::Failure;

/// The bytes of the payload of a message.
pub(super) const BODY: usize = 250;
/// How many agents send.
pub(super) const AGENTS: usize = 64;
/// The data type of all messages.
pub(super) const TYPE: &str = "m";
/// The most bytes of a stream.
const MOST: u64 = 8 << 30;

/// A node of poa.
pub(super) struct Node {
    pub(super) engine: Arc<Nats>,
    types: DataTypes,
    agents: Vec<AgentId>,
    payload: Payload,
    _dir: TempDir,
}

/// A configuration for these servers.
pub(super) fn config(servers: &Servers, prefix: &str) -> Config {
    let mut config = Config::new(servers.urls(), MOST);
    config.monitor = servers.monitors();
    config.prefix = prefix.to_owned();
    config.partitions = PARTITIONS;
    config.start_timeout = poa_core::config::Duration::from_secs(60);
    config
}

impl Node {
    pub(super) async fn build(mut config: Config, name: &str) -> Result<Self, Failure> {
        config.node = Some(name.to_owned());
        let dir = tempfile::tempdir()?;
        let types = DataTypes::new([TYPE])?;
        let acks = Acks::new(&types, |_| Ack::Stored, Duration::from_secs(30));
        let mut bus = BusSettings::new(acks);
        bus.unrouted = Unrouted::Allow;
        let context = BuildContext::detached("nats", dir.path());
        let context = context.with_data_types(types.clone()).with_bus(bus);
        let engine = Arc::new(Nats::build(config, &context).await?);
        let agents = (0..AGENTS).map(|n| AgentId::new(format!("agent-{n}")));
        let agents = agents.collect::<Result<Vec<_>, _>>()?;
        let body = format!("{{\"filler\":\"{}\"}}", "x".repeat(BODY - 13));
        let payload = Payload::new(Format::Json, Bytes::from(body));
        Ok(Self { engine, types, agents, payload, _dir: dir })
    }

    /// One that runs.
    pub(super) async fn start(config: Config, name: &str) -> Result<Self, Failure> {
        let node = Self::build(config, name).await?;
        node.engine.start().await?;
        Ok(node)
    }

    /// A receiver that reads from the start of the stream.
    pub(super) async fn subscribe(&self, receiver: &str) -> Result<Arc<dyn Subscription>, Failure> {
        let mut options = ReceiverOptions::subscribe([TYPE]);
        options.from = ReadFrom::Start;
        let mut types = TypeSet::default();
        self.types.iter().for_each(|data_type| types.insert(data_type));
        let request = SubscriptionRequest::new(receiver, types, &options);
        Ok(self.engine.subscribe(request).await?)
    }

    /// The message of this number.
    pub(super) fn draft(&self, number: usize, keyed: bool) -> Result<Draft, Failure> {
        let agent = &self.agents[number % AGENTS];
        let data_type = self.types.get(TYPE).ok_or("the data type is missing")?.clone();
        let draft = Draft::new(agent.clone(), data_type, self.payload.clone());
        if !keyed {
            return Ok(draft);
        }
        let key = IdempotencyKey::new(agent, &format!("{number:x}"))?;
        Ok(draft.with_idempotency_key(key))
    }

    /// Publishes a message, again while it is refused for now, and waits until it is stored.
    pub(super) async fn send(&self, number: usize, keyed: bool) -> Result<(), Failure> {
        let mut draft = self.draft(number, keyed)?.into();
        loop {
            match self.engine.publish(draft) {
                Ok(receipt) => return Ok(receipt.await?),
                Err(error) if error.is_transient() => {
                    draft = error.into_messages().into();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => return Err(error.reason().to_string().into()),
            }
        }
    }

    pub(super) async fn finish(self) {
        self.engine.close();
        self.engine.finish().await;
    }
}

/// Receives and confirms so many messages, after those that are there already.
pub(super) async fn receive(
    subscription: &dyn Subscription,
    messages: usize,
) -> Result<(), Failure> {
    let limits = BatchLimits::default();
    let mut received = 0;
    while received < messages {
        let batch = subscription.next_batch(&limits).await.ok_or("the engine was closed")?;
        let is_message = |event: &&(u64, Event)| matches!(event.1, Event::Message(_));
        received += batch.iter().filter(is_message).count();
        subscription.confirm(&[]);
    }
    Ok(())
}
