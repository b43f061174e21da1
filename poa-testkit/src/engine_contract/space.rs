//! An engine outside of any host, and the storage on which it is restarted.

use std::sync::Arc;
use std::time::Duration;

use poa_core::engine::{
    Acks, BusCounts, BusSettings, Capabilities, Drafts, Engine, MessageIds, Receipt, ReceiptError,
    Refused, SendError, Subscription, SubscriptionCounts, SubscriptionRequest, TypeSet, Unrouted,
};
use poa_core::{
    Ack, BatchLimits, BuildContext, BuildError, DataTypes, Draft, EngineFactory, IdempotencyKey,
    Payload, ReceiverOptions,
};
use serde_json::json;
use tempfile::TempDir;

use super::got::{Got, MARK};
use crate::samples;

/// Longer than any single step takes, even if servers elect a leader meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The agents that send. Enough for an engine that divides them to have some in different parts.
pub(super) const AGENTS: [&str; 5] = ["agent-0", "agent-1", "agent-2", "agent-3", "agent-4"];

/// The data types of every engine here.
pub(super) const TYPES: [&str; 2] = ["alpha", "beta"];

/// The outcome of a future.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Returns once this is true.
pub(super) async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    soon(what, async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The storage of one engine, over restarts.
pub(super) struct Space {
    factory: EngineFactory,
    pub(super) data_dir: TempDir,
    types: DataTypes,
}

impl Space {
    pub(super) fn new(factory: EngineFactory) -> Self {
        let data_dir = TempDir::with_prefix("poa-testkit-").expect("a temporary directory");
        let types = DataTypes::new(TYPES).expect("valid names");
        Self { factory, data_dir, types }
    }

    /// The capabilities of the engine.
    pub(super) async fn capabilities(&self) -> Capabilities {
        let node = self.build(Ack::Memory).await;
        let capabilities = node.engine.capabilities();
        node.end().await;
        capabilities
    }

    /// An engine that is to acknowledge every message at this level, not started.
    pub(super) async fn build(&self, ack: Ack) -> Node {
        self.build_with(ack, |_| {}).await
    }

    /// The same, with other settings changed.
    pub(super) async fn build_with(&self, ack: Ack, change: impl FnOnce(&mut BusSettings)) -> Node {
        let acks = Acks::new(&self.types, |_| ack, Duration::from_secs(60));
        let mut settings = BusSettings::new(acks);
        change(&mut settings);
        let counts = settings.counts.clone();
        let built = self.try_build(settings).await;
        let engine = built.unwrap_or_else(|error| panic!("not built: {error:?}"));
        Node { engine: engine.into(), types: self.types.clone(), counts }
    }

    /// An engine after one that was dropped, and that may need a moment to release its files.
    pub(super) async fn build_after_a_crash(&self, ack: Ack) -> Node {
        let settings =
            || BusSettings::new(Acks::new(&self.types, |_| ack, Duration::from_secs(60)));
        let engine = soon("an engine is built after a crash", async {
            loop {
                match self.try_build(settings()).await {
                    Ok(engine) => break engine,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
        .await;
        Node { engine: engine.into(), types: self.types.clone(), counts: BusCounts::default() }
    }

    async fn try_build(&self, settings: BusSettings) -> Result<Box<dyn Engine>, BuildError> {
        let context = BuildContext::detached("subject", self.data_dir.path())
            .with_data_types(self.types.clone())
            .with_bus(settings);
        soon("the engine is built", (self.factory)(&context)).await
    }

    /// The settings of an engine with this time limit for `delivered`.
    pub(super) fn delivered_within(&self, within: Duration) -> Acks {
        Acks::new(&self.types, |_| Ack::Delivered, within)
    }
}

/// Accepts messages that no receiver subscribes to.
pub(super) fn allow_unrouted(settings: &mut BusSettings) {
    settings.unrouted = Unrouted::Allow;
}

/// One run of an engine.
pub(super) struct Node {
    pub(super) engine: Arc<dyn Engine>,
    types: DataTypes,
    pub(super) counts: BusCounts,
}

impl Node {
    pub(super) async fn start(&self) {
        let started = soon("the engine starts", self.engine.start()).await;
        started.unwrap_or_else(|error| panic!("not started: {error:?}"));
        assert!(self.engine.is_open(), "a started engine has to be open");
    }

    /// A subscription of both types.
    pub(super) async fn subscribe(&self, name: &str) -> Arc<dyn Subscription> {
        self.subscribe_as(name, &ReceiverOptions::subscribe(TYPES)).await
    }

    pub(super) async fn subscribe_as(
        &self,
        name: &str,
        options: &ReceiverOptions,
    ) -> Arc<dyn Subscription> {
        self.subscribe_counted(name, &TYPES, options, SubscriptionCounts::default()).await
    }

    pub(super) async fn subscribe_counted(
        &self,
        name: &str,
        types: &[&str],
        options: &ReceiverOptions,
        counts: SubscriptionCounts,
    ) -> Arc<dyn Subscription> {
        let subscribed = self.engine.subscribe(self.request(name, types, options, counts));
        let subscribed = soon("a subscription", subscribed).await;
        subscribed.unwrap_or_else(|error| panic!("`{name}` cannot subscribe: {error:?}"))
    }

    pub(super) fn request(
        &self,
        name: &str,
        types: &[&str],
        options: &ReceiverOptions,
        counts: SubscriptionCounts,
    ) -> SubscriptionRequest {
        let types: TypeSet = types.iter().filter_map(|name| self.types.get(name)).collect();
        SubscriptionRequest::new(name, types, options).with_counts(counts)
    }

    /// A message with this number, of a type by its number.
    pub(super) fn draft(&self, agent: &str, number: u64) -> Draft {
        self.draft_of(agent, TYPES[number as usize % TYPES.len()], number, 0)
    }

    /// A message with this number, and this many bytes more.
    pub(super) fn draft_of(&self, agent: &str, data_type: &str, number: u64, pad: usize) -> Draft {
        let data = json!({"n": number, "pad": "x".repeat(pad)});
        let payload = Payload::json(&data).unwrap_or_else(|error| panic!("{error}"));
        samples::draft(&self.types, agent, data_type, payload)
    }

    /// A message with an idempotency key.
    pub(super) fn keyed(&self, agent: &str, number: u64, key: &str) -> Draft {
        let draft = self.draft(agent, number);
        let key = IdempotencyKey::new(draft.agent_id(), key).expect("a valid key");
        draft.with_idempotency_key(key)
    }

    pub(super) fn send(&self, messages: impl Into<Drafts>) -> Result<Receipt, SendError> {
        self.engine.publish(messages.into())
    }

    /// Sends, and waits for the result: some engines refuse immediately, others by the receipt.
    pub(super) async fn outcome(
        &self,
        messages: impl Into<Drafts>,
    ) -> Result<MessageIds, ReceiptError> {
        let mut receipt = self.send(messages).map_err(SendError::into_reason)?;
        soon("a receipt", &mut receipt).await?;
        Ok(receipt.ids().clone())
    }

    /// Sends messages that have to be accepted.
    pub(super) async fn accepted(&self, what: &str, messages: impl Into<Drafts>) -> MessageIds {
        let outcome = self.outcome(messages).await;
        outcome.unwrap_or_else(|error| panic!("{what}: not accepted: {error}"))
    }

    /// Sends `numbers` by the agents in turn.
    pub(super) async fn send_numbers(&self, what: &str, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let agent = AGENTS[number as usize % AGENTS.len()];
            self.accepted(what, self.draft(agent, number)).await;
        }
    }

    /// Sends the last message of each agent, by which a reader recognises the end; repeats it as often as
    /// necessary.
    pub(super) async fn send_marks(&self) {
        for agent in AGENTS {
            let mark = || self.draft_of(agent, TYPES[0], MARK, 0);
            soon("the last messages are accepted", async {
                while let Err(error) = self.outcome(mark()).await {
                    let again =
                        matches!(&error, ReceiptError::NotStored | ReceiptError::Refused(_));
                    assert!(again, "the last message of `{agent}`: {error}");
                    self.engine.room().await;
                }
            })
            .await;
        }
    }

    /// Sends the last messages, and reads and confirms everything up to them.
    pub(super) async fn drain(&self, what: &str, subscription: &dyn Subscription) -> Got {
        let ((), got) = tokio::join!(self.send_marks(), Got::up_to_marks(what, subscription));
        got
    }

    /// The orderly end. `subscriptions` must not hand out anything more.
    pub(super) async fn end(self) {
        self.engine.close();
        soon("the engine finishes", self.engine.finish()).await;
    }
}

/// Batches of at most this many messages, without a linger.
pub(super) fn batches_of(size: usize) -> BatchLimits {
    let mut limits = BatchLimits::default();
    limits.size = size;
    limits.linger = poa_core::config::Duration::from_millis(0);
    limits
}

/// Whether the error means that the host is stopping.
pub(super) fn is_stopping(outcome: &Result<MessageIds, ReceiptError>) -> bool {
    matches!(
        outcome,
        Err(ReceiptError::Stopped
            | ReceiptError::NotStored
            | ReceiptError::Refused(Refused::Stopping))
    )
}
