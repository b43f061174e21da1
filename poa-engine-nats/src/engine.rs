//! The engine as the host sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use poa_core::config::Problem;
use poa_core::engine::{
    Capabilities, Drafts, Engine, Event, IdGenerator, Leftover, Receipt, Refused, SendError,
    SharedStore, Subscription, SubscriptionRequest, Unrouted, encode,
};
use poa_core::{
    Ack, Activity, BuildContext, BuildError, Draft, Message, MessageId, Plugin, ReadFrom, Scope,
    Timestamp,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use crate::bucket::Slot;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::connect;
use crate::janitor::Janitor;
use crate::layout::unavailable;
use crate::names;
use crate::pack::Position;
use crate::publish::{Call, Content, Item, Lane, Sender, Shared};
use crate::registration::{self, Registration};
use crate::store;
use crate::subscription::Receiver;

/// The bytes of a record besides payload, agent and data type.
const RECORD: usize = 64;
/// How often the stream and the cursors are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The pause before servers that were not available at the start are asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// The bus on NATS JetStream.
pub struct Nats {
    cluster: Arc<Cluster>,
    sender: Arc<Sender>,
    receivers: Mutex<BTreeMap<String, Arc<Receiver>>>,
    ids: Mutex<IdGenerator>,
    open: AtomicBool,
    started: AtomicBool,
    store: Arc<store::Shared>,
    work: Mutex<Option<Work>>,
}

/// The tasks in the background. Dropping this ends them.
struct Work {
    tasks: tokio::task::JoinSet<()>,
}

#[async_trait]
impl Plugin for Nats {
    type Config = Config;

    fn validate(config: &Config) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let deadline = Instant::now() + config.start_timeout.get();
        loop {
            let error = match timeout_at(deadline, connect::cluster(config.clone(), cx)).await {
                Ok(Ok(cluster)) => return Ok(Self::new(cluster)),
                Ok(Err(error)) => error,
                Err(_) => return Err(no_answer(&config)),
            };
            // Servers that start together with this node elect leaders first.
            let is_last = Instant::now() + AGAIN > deadline;
            if is_last || !matches!(error, BuildError::Unavailable(..)) {
                return Err(error);
            }
            tracing::debug!("trying again: {error}");
            sleep(AGAIN).await;
        }
    }
}

fn no_answer(config: &Config) -> BuildError {
    let (servers, within) = (config.servers.join(", "), config.start_timeout.get());
    BuildError::unavailable(format!(
        "the NATS servers {servers} did not answer within {within:?}; start them, or correct `servers` in [bus.nats]"
    ))
}

impl Nats {
    fn new(cluster: Cluster) -> Self {
        let cluster = Arc::new(cluster);
        let sender = Arc::new(Sender {
            cluster: cluster.clone(),
            lanes: cluster.names.partitions().map(|_| Lane::default()).collect(),
            queued: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            turns: Arc::default(),
            room: tokio::sync::Notify::new(),
            full_until: Mutex::new(None),
        });
        Self {
            store: store::Shared::new(cluster.contact.clone(), &cluster.names),
            cluster,
            sender,
            receivers: Mutex::default(),
            ids: Mutex::new(IdGenerator::new()),
            open: AtomicBool::new(false),
            started: AtomicBool::new(false),
            work: Mutex::new(None),
        }
    }

    /// Whether these messages can be taken now.
    fn admit(&self, messages: &[Draft]) -> Result<(), Refused> {
        if !self.is_open() {
            return Err(Refused::Stopping);
        }
        if self.cluster.contact.is_lost() {
            return Err(Refused::Unavailable("the NATS servers do not store messages now".into()));
        }
        if self.sender.full_until.lock().is_some_and(|until| Instant::now() < until) {
            return Err(Refused::Unavailable("the stream is full".into()));
        }
        if self.sender.queued.load(Relaxed) > self.cluster.settings.max_in_memory {
            return Err(Refused::LogBusy);
        }
        messages.iter().try_for_each(|draft| self.admit_one(draft))
    }

    fn admit_one(&self, draft: &Draft) -> Result<(), Refused> {
        let data_type = draft.data_type();
        let (bytes, limit) = (size(draft), self.cluster.most_payload());
        if bytes > limit {
            return Err(Refused::TooLarge { bytes, limit });
        }
        let levels = self.cluster.levels.read();
        if let Some((receiver, _)) = levels.full.iter().find(|(_, t)| t.contains(data_type.name()))
        {
            return Err(Refused::BacklogFull { receiver: receiver.as_str().into() });
        }
        let allowed = self.cluster.bus.unrouted == Unrouted::Allow;
        if !allowed && !self.cluster.is_routed(data_type) {
            return Err(Refused::NobodySubscribed(data_type.name().into()));
        }
        Ok(())
    }

    fn push(&self, message: &Message, ack: Ack, call: Option<Call>) {
        let mut record = Vec::with_capacity(message.payload().bytes().len() + RECORD * 4);
        encode(&Event::Message(message.clone()), &mut record);
        let key = message.idempotency_key().map(|key| (key, message.fingerprint()));
        let content = Content::Message { data_type: message.data_type().clone(), key, ack, call };
        let item = Item { agent: message.agent_id().clone(), content, record: record.into() };
        self.sender.queued.fetch_add(item.size(), Relaxed);
        self.lane(&item).push(item);
    }

    fn lane(&self, item: &Item) -> &Lane {
        &self.sender.lanes[usize::from(self.cluster.names.partition_of(&item.agent))]
    }

    /// The messages with their ids; none for those that no receiver wants.
    fn stamp(&self, messages: Drafts) -> (Vec<Option<MessageId>>, Vec<Message>) {
        let now = Timestamp::now();
        let mut generator = self.ids.lock();
        let (mut ids, mut stamped) = (Vec::new(), Vec::new());
        messages.for_each(|draft| {
            if !self.cluster.is_routed(draft.data_type()) {
                self.cluster.bus.counts.unrouted.inc();
                ids.push(None);
                return;
            }
            let id = generator.next(now);
            ids.push(Some(id));
            stamped.push(Message::stamp(draft, id, now));
        });
        (ids, stamped)
    }

    async fn register(&self, request: &SubscriptionRequest) -> Result<Registration, BuildError> {
        let cluster = &self.cluster;
        let from = self.start_of(request).await?;
        let types = self.names_of(request);
        let wanted = Registration::new(request, types, from, &cluster.settings.node);
        let written = wanted.write(&cluster.receivers, &request.name).await;
        let (registration, revision) =
            written.map_err(|why| unavailable("register the receiver", &why))?;
        let value = serde_json::to_vec(&registration).ok().map(bytes::Bytes::from);
        cluster.mirror.put(&names::registration(&request.name), Slot { revision, value });
        cluster.refresh_registry();
        Ok(registration)
    }

    /// The last message of the stream that a new receiver does not get.
    async fn start_of(&self, request: &SubscriptionRequest) -> Result<u64, BuildError> {
        if request.from == ReadFrom::Start {
            return Ok(0);
        }
        let state = self.cluster.stream_state().await;
        Ok(state.map_err(|why| unavailable("find the end of the stream", &why))?.last_seq)
    }

    fn names_of(&self, request: &SubscriptionRequest) -> BTreeSet<String> {
        let types = self.cluster.types.iter().filter(|t| request.types.contains(t));
        types.map(|data_type| data_type.name().to_owned()).collect()
    }

    fn spawn_work(&self) {
        let mut tasks = tokio::task::JoinSet::new();
        for partition in self.cluster.names.partitions() {
            tasks.spawn(self.sender.clone().run(partition));
        }
        let window = self.cluster.bus.keys.time;
        tasks.spawn(Janitor::new(self.cluster.clone(), window).run());
        tasks.spawn(look(self.cluster.clone()));
        let (cluster, contact) = (self.cluster.clone(), self.cluster.contact.clone());
        tasks.spawn(async move {
            cluster.mirror.follow(contact, |changed| cluster.changed(&changed)).await;
        });
        *self.work.lock() = Some(Work { tasks });
    }

    fn start_receiver(&self, receiver: &Arc<Receiver>) {
        self.cluster.wake_on_release(receiver);
        receiver.start();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // An engine that was not finished still lets other nodes have its partitions.
        self.receivers.get_mut().values().for_each(|receiver| receiver.cancel());
    }
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("node", &self.cluster.settings.node).finish_non_exhaustive()
    }
}

/// Looks at the stream once a second; that it answers also tells whether there is contact.
async fn look(cluster: Arc<Cluster>) {
    loop {
        if let Err(failure) = cluster.look().await {
            tracing::debug!("cannot look at the stream now: {failure}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn size(draft: &Draft) -> usize {
    let texts = draft.agent_id().as_str().len() + draft.data_type().name().len();
    draft.payload().bytes().len() + texts + RECORD
}

#[async_trait]
impl Engine for Nats {
    fn capabilities(&self) -> Capabilities {
        Capabilities::SHARED
    }

    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError> {
        let earlier = self.receivers.lock().remove(&*request.name);
        if let Some(earlier) = earlier {
            earlier.finish().await;
        }
        let types = self.names_of(&request);
        let name = request.name.to_string();
        let from = match request.scope {
            Scope::Each => {
                self.cluster.each.write().insert(name.clone(), types.clone());
                Position::end_of(self.start_of(&request).await?)
            }
            _ => self.register(&request).await?.from(),
        };
        let receiver = Receiver::new(self.cluster.clone(), request, from, types);
        self.receivers.lock().insert(name, receiver.clone());
        if self.started.load(Relaxed) {
            self.start_receiver(&receiver);
        }
        Ok(receiver)
    }

    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError> {
        let earlier = self.receivers.lock().remove(name);
        if let Some(earlier) = earlier {
            earlier.finish().await;
        }
        if self.cluster.each.write().remove(name).is_some() {
            return Ok(());
        }
        let node = &self.cluster.settings.node;
        let gone = registration::leave(&self.cluster.receivers, name, node).await;
        if gone.map_err(|why| unavailable("forget the receiver", &why))? {
            self.cluster.forgotten(name).await;
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), BuildError> {
        self.spawn_work();
        self.cluster.mirror.synced().await;
        self.cluster.refresh_registry();
        let look = self.cluster.look().await;
        look.map_err(|why| unavailable("look at the stream", &why))?;
        self.started.store(true, Relaxed);
        self.open.store(true, Relaxed);
        let receivers: Vec<_> = self.receivers.lock().values().cloned().collect();
        receivers.iter().for_each(|receiver| self.start_receiver(receiver));
        Ok(())
    }

    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        if let Err(reason) = self.admit(messages.as_slice()) {
            return Err(SendError::new(reason, messages));
        }
        let (ids, stamped) = self.stamp(messages);
        let acks = &self.cluster.bus.acks;
        let promised = |message: &Message| acks.of(message.data_type());
        let waits = stamped.iter().filter(|message| promised(message) != Ack::Memory).count();
        if waits == 0 {
            stamped.iter().for_each(|message| self.push(message, Ack::Memory, None));
            return Ok(Receipt::ready(ids));
        }
        let (mut receipt, sender) = Receipt::pending(ids.clone());
        if stamped.iter().any(|message| promised(message) == Ack::Delivered) {
            receipt = receipt.within(acks.delivered_within());
        }
        let places: Vec<_> = ids.iter().enumerate().filter(|(_, id)| id.is_some()).collect();
        let places: Vec<_> = places.into_iter().map(|(place, _)| place).collect();
        let shared = Shared::new(waits, ids, sender);
        for (message, index) in stamped.iter().zip(places) {
            let ack = promised(message);
            let call = Call { shared: shared.clone(), index };
            self.push(message, ack, (ack != Ack::Memory).then_some(call));
        }
        Ok(receipt)
    }

    fn publish_activity(&self, change: Activity) {
        let mut record = Vec::new();
        let agent = change.agent_id.clone();
        encode(&Event::Activity(change), &mut record);
        let item = Item { agent, content: Content::Activity, record: record.into() };
        let lane = self.lane(&item);
        if self.sender.queued.load(Relaxed) > self.cluster.settings.max_in_memory {
            lane.keep_change(item);
        } else {
            self.sender.queued.fetch_add(item.size(), Relaxed);
            lane.push(item);
        }
    }

    async fn room(&self) {
        let _ = timeout(Duration::from_millis(200), self.sender.room.notified()).await;
    }

    fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    fn close(&self) {
        self.open.store(false, Relaxed);
        let receivers: Vec<_> = self.receivers.lock().values().cloned().collect();
        let (cluster, sender) = (self.cluster.clone(), self.sender.clone());
        let close = async move {
            sender.drained().await;
            // Without an answer, what was read until now is all that is handed out.
            let last = cluster.stream_state().await.map_or(0, |state| state.last_seq);
            receivers.iter().for_each(|receiver| receiver.close(last));
        };
        if let Some(work) = self.work.lock().as_mut() {
            work.tasks.spawn(close);
        }
    }

    async fn finish(&self) -> Leftover {
        self.open.store(false, Relaxed);
        self.sender.drained().await;
        let receivers = std::mem::take(&mut *self.receivers.lock());
        let ending = TaskTracker::new();
        for receiver in receivers.into_values() {
            ending.spawn(async move { receiver.finish().await });
        }
        ending.close();
        ending.wait().await;
        self.work.lock().take();
        Leftover { lost: self.sender.lost.load(Relaxed) as u64 }
    }

    fn status(&self) -> serde_json::Value {
        let stream = self.cluster.levels.read().stream.clone();
        let state = stream.state;
        let receivers: BTreeMap<_, _> = self.cluster.receivers_status();
        json!({
            "node": self.cluster.settings.node,
            "server": self.cluster.contact.client().server_info().server_name,
            "connected": !self.cluster.contact.is_lost(),
            "silent_ms": self.cluster.contact.silent_for().as_millis() as u64,
            "stream": {
                "name": self.cluster.names.stream(),
                "leader": stream.leader(),
                "messages": state.messages,
                "bytes": state.bytes,
                "max_bytes": self.cluster.settings.max_bytes,
                "last_sequence": state.last_seq,
            },
            "receivers": receivers,
        })
    }

    fn shared_store(&self) -> Option<Arc<dyn SharedStore>> {
        Some(self.store.clone())
    }
}
