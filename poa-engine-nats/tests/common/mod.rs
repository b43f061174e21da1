//! Nodes on real servers.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "the helpers of tests fail as tests do, and not each test uses all"
)]

pub(crate) mod accounts;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use poa_core::config::Size;
use poa_core::engine::{
    Acks, BusSettings, Engine, Event, KeyWindow, Receipt, SendError, Subscription,
    SubscriptionRequest, TypeSet,
};
use poa_core::{
    Ack, AgentId, BatchLimits, BuildContext, DataType, DataTypes, Draft, Format, IdempotencyKey,
    Payload, Plugin, ReceiverOptions,
};
use poa_engine_nats::{Config, Nats};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything should ever take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A node: an engine and its directory.
pub(crate) struct Node {
    pub(crate) engine: Arc<Nats>,
    pub(crate) types: DataTypes,
    _dir: TempDir,
}

/// A prefix that no other test uses.
pub(crate) fn prefix() -> String {
    format!("t{:08x}", fastrand::u32(..))
}

/// A configuration for the cluster that tests share.
pub(crate) fn shared(prefix: &str) -> Config {
    let mut config = Config::new(poa_test_nats::shared_cluster(), 64 << 20);
    config.monitor = poa_test_nats::shared_monitors();
    quick(config, prefix)
}

/// The same configuration under this prefix, for servers that may be slow.
pub(crate) fn quick(mut config: Config, prefix: &str) -> Config {
    config.prefix = prefix.to_owned();
    config.start_timeout = poa_core::config::Duration::from_secs(60);
    config.partitions = 4;
    config
}

pub(crate) fn types() -> DataTypes {
    DataTypes::new(["x", "y"]).unwrap()
}

pub(crate) fn settings() -> BusSettings {
    let acks = Acks::new(&types(), |_| Ack::Stored, Duration::from_secs(30));
    let mut settings = BusSettings::new(acks);
    settings.keys = KeyWindow::default().time(Duration::from_secs(120));
    settings
}

impl Node {
    pub(crate) async fn build(config: Config, name: &str) -> Self {
        Self::build_with(config, name, settings()).await
    }

    pub(crate) async fn build_with(mut config: Config, name: &str, bus: BusSettings) -> Self {
        config.node = Some(name.to_owned());
        let dir = TempDir::with_prefix("poa-engine-nats-").unwrap();
        let types = types();
        let context =
            BuildContext::detached("nats", dir.path()).with_data_types(types.clone()).with_bus(bus);
        let engine = Arc::new(Nats::build(config, &context).await.unwrap());
        Self { engine, types, _dir: dir }
    }

    /// A node that runs, without any receiver.
    pub(crate) async fn start(config: Config, name: &str) -> Self {
        let node = Self::build(config, name).await;
        node.engine.start().await.unwrap();
        node
    }

    pub(crate) async fn subscribe(&self, receiver: &str) -> Arc<dyn Subscription> {
        self.subscribe_with(receiver, &ReceiverOptions::subscribe(["x", "y"])).await
    }

    pub(crate) async fn subscribe_with(
        &self,
        receiver: &str,
        options: &ReceiverOptions,
    ) -> Arc<dyn Subscription> {
        let mut types = TypeSet::default();
        let of =
            |data_type: &&DataType| options.subscribe.iter().any(|name| name == data_type.name());
        self.types.iter().filter(of).for_each(|data_type| types.insert(data_type));
        let request = SubscriptionRequest::new(receiver, types, options);
        self.engine.subscribe(request).await.unwrap()
    }

    pub(crate) fn draft(&self, agent: &str, number: u64) -> Draft {
        self.draft_of(agent, number, format!("{{\"n\":{number}}}"))
    }

    fn draft_of(&self, agent: &str, number: u64, body: String) -> Draft {
        let payload = Payload::new(Format::Json, Bytes::from(body));
        let agent = AgentId::new(agent.to_owned()).unwrap();
        let data_type = if number.is_multiple_of(3) { "y" } else { "x" };
        Draft::new(agent, self.types.get(data_type).unwrap().clone(), payload)
    }

    pub(crate) fn send(&self, agent: &str, number: u64) -> Result<Receipt, SendError> {
        self.engine.publish(self.draft(agent, number).into())
    }

    pub(crate) fn send_body(&self, agent: &str, body: String) -> Result<Receipt, SendError> {
        self.engine.publish(self.draft_of(agent, 1, body).into())
    }

    pub(crate) fn send_keyed(
        &self,
        agent: &str,
        number: u64,
        key: &str,
    ) -> Result<Receipt, SendError> {
        let draft = self.draft(agent, number);
        let key = IdempotencyKey::new(draft.agent_id(), key).unwrap();
        self.engine.publish(draft.with_idempotency_key(key).into())
    }

    /// Sends again and again until it is stored; how often.
    pub(crate) async fn send_until_stored(&self, agent: &str, number: u64) -> usize {
        let mut sent = 0;
        loop {
            sent += 1;
            if let Ok(receipt) = self.send(agent, number)
                && receipt.await.is_ok()
            {
                return sent;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn finish(self) {
        self.engine.close();
        soon("the engine ends", self.engine.finish()).await;
    }
}

/// The outcome of a future, within [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// The numbers that receivers got of each agent, in the order of their first arrival.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) numbers: BTreeMap<String, Vec<u64>>,
    pub(crate) events: usize,
    pub(crate) repeated: usize,
    seen: HashMap<String, usize>,
}

impl Got {
    pub(crate) fn take(&mut self, batch: &[(u64, Event)]) {
        for (_, event) in batch {
            self.events += 1;
            let Event::Message(message) = event else { continue };
            if self.seen.insert(message.id().to_string(), 1).is_some() {
                self.repeated += 1;
                continue;
            }
            let body: serde_json::Value =
                serde_json::from_slice(message.payload().bytes()).unwrap();
            let numbers = self.numbers.entry(message.agent_id().to_string()).or_default();
            numbers.push(body["n"].as_u64().unwrap());
        }
    }

    pub(crate) fn messages(&self) -> usize {
        self.seen.len()
    }

    /// Whether the numbers of each agent ascend; a number may be there twice when it was sent twice.
    pub(crate) fn assert_ordered(&self) {
        for (agent, numbers) in &self.numbers {
            assert!(numbers.is_sorted(), "{agent}: {numbers:?}");
        }
    }

    /// Whether the numbers of an agent ascend by their first arrival, and each is there once, or at most as often as it was sent. A server that
    /// was frozen may store late what it held back: copies of messages that were refused meanwhile, and sent again without a key.
    pub(crate) fn assert_ordered_by_first_arrival(&self, agent: &str, sent: &[usize]) {
        let numbers = self.numbers.get(agent).map_or(&[][..], Vec::as_slice);
        let (mut copies, mut next) = (vec![0; sent.len()], 0);
        for number in numbers {
            assert!(*number <= next, "{agent}: {number} came before {next}: {numbers:?}");
            next = next.max(number + 1);
            copies[usize::try_from(*number).unwrap()] += 1;
        }
        for (number, (copies, sent)) in copies.iter().zip(sent).enumerate() {
            assert!(
                (1..=*sent).contains(copies),
                "{agent}: {copies} of {number}, sent {sent} times"
            );
        }
    }

    /// The numbers of an agent, each once.
    pub(crate) fn distinct(&self, agent: &str) -> Vec<u64> {
        let mut numbers = self.numbers.get(agent).cloned().unwrap_or_default();
        numbers.dedup();
        numbers
    }
}

/// Receives and confirms until there are so many messages.
pub(crate) async fn receive(subscription: &dyn Subscription, got: &mut Got, messages: usize) {
    let limits = limits();
    while got.messages() < messages {
        let batch = soon("a batch", subscription.next_batch(&limits)).await.unwrap();
        got.take(&batch);
        subscription.confirm(&[]);
    }
}

pub(crate) fn limits() -> BatchLimits {
    let mut limits = BatchLimits::default();
    limits.size = 100;
    limits.bytes = Size::bytes(1 << 20);
    limits.linger = poa_core::config::Duration::from_millis(1);
    limits
}
