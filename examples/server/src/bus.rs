//! `poa-server bus migrate`: from the log of one machine to the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use poa_auth::Auth;
use poa_core::engine::{
    Acks, BusSettings, Engine, Event, KeyWindow, Subscription, SubscriptionRequest, TypeSet,
};
use poa_core::{
    Ack, BatchLimits, BuildContext, BuildError, DataTypes, Message, MessageId, Plugin,
    ReceiverOptions, Scope, Timestamp,
};
use poa_engine_local::{Log, LogConfig};
use poa_engine_nats::Import;
use poa_host::Config;

use crate::cluster;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::say;

/// How many messages are read at a time.
const AT_ONCE: usize = 1000;

/// Moves the backlogs in the log of the data directory, and the users, into the cluster of the configuration.
pub(crate) async fn migrate(cx: Context<'_>) -> Result<u8, Failure> {
    let source = cx.source();
    let (config, nats) = cluster::configuration(&source)?;
    let dir = config.data_dir();
    if !dir.is_dir() {
        return Err(Failure::because(format_args!("there is no data directory {}", dir.display())));
    }
    let import = Import::open(&nats, KeyWindow::default(), dir).await.map_err(failed)?;
    let moved = match dir.join("log").is_dir() {
        true => Migration::open(&config, &import).await.map_err(failed)?.run().await,
        false => Ok(0),
    };
    let moved = moved.map_err(failed)?;
    say(format_args!("{moved} messages moved from the log in {}", dir.display()));
    let users = Auth::migrate(dir, import.shared_store()).await;
    let (added, there) = users.map_err(|error| Failure::because(format_args!("users: {error}")))?;
    say(format_args!("{added} users added to the cluster, {there} were there"));
    Ok(0)
}

fn failed(error: BuildError) -> Failure {
    Failure::new("bus migrate", error)
}

/// A receiver, and the first message that it has not confirmed.
struct Waiting {
    request: SubscriptionRequest,
    types: BTreeSet<String>,
    subscription: Arc<dyn Subscription>,
    first: Option<MessageId>,
    /// The first sequence of the stream that it is to get.
    start: Option<u64>,
}

struct Migration<'a> {
    log: Log,
    import: &'a Import,
    receivers: Vec<Waiting>,
    /// Reads everything that the log has.
    all: Arc<dyn Subscription>,
    name: String,
}

impl<'a> Migration<'a> {
    async fn open(config: &Config, import: &'a Import) -> Result<Self, BuildError> {
        let types = DataTypes::new(config.metrics().map(str::to_owned))
            .map_err(|error| BuildError::failed(error.to_string()))?;
        let acks = Acks::new(&types, |_| Ack::Stored, Duration::from_secs(30));
        let cx = BuildContext::detached("log", config.data_dir())
            .with_data_types(types.clone())
            .with_bus(BusSettings::new(acks));
        let log = Log::build(LogConfig::default(), &cx).await?;
        let mut receivers = Vec::new();
        for name in config.receivers() {
            let Some(options) = config.receiver_options(name) else { continue };
            if options.scope != Scope::Each {
                receivers.push(Waiting::subscribe(&log, name, options, &types).await?);
            }
        }
        // A name of its own: after a run that failed, everything is read again.
        let name = format!("bus-migrate-{}", Timestamp::now().as_micros());
        let every = ReceiverOptions::subscribe(types.iter().map(|t| t.name())).from_start();
        let request = SubscriptionRequest::new(name.as_str(), set(&types, &every), &every);
        let all = log.subscribe(request).await?;
        Ok(Self { log, import, receivers, all, name })
    }

    /// Returns how many messages were moved.
    async fn run(mut self) -> Result<usize, BuildError> {
        self.log.start().await?;
        self.log.close();
        for receiver in &mut self.receivers {
            receiver.first = first(&*receiver.subscription).await;
        }
        let moved = self.store().await?;
        let last = self.import.last().await?;
        for Waiting { request, types, start, .. } in &self.receivers {
            let done = start.map_or(last, |start| start.saturating_sub(1));
            self.import.register(request, types.clone(), done).await?;
        }
        // Everything is safe there: here it is done with.
        for receiver in &self.receivers {
            while receiver.subscription.next_batch(&limits()).await.is_some() {
                receiver.subscription.confirm(&[]);
            }
        }
        self.log.unsubscribe(&self.name).await?;
        self.log.finish().await;
        Ok(moved)
    }

    /// Stores every message that a receiver waits for.
    async fn store(&mut self) -> Result<usize, BuildError> {
        let mut moved = 0;
        let from = self.receivers.iter().filter_map(|receiver| receiver.first).min();
        while let (Some(from), Some(batch)) = (from, self.all.next_batch(&limits()).await) {
            let messages = batch.into_iter().filter_map(|(_, event)| match event {
                Event::Message(message) => Some(message),
                // The cluster watches the agents itself.
                Event::Activity(_) => None,
            });
            let messages: Vec<_> = messages.filter(|message| message.id() >= from).collect();
            moved += messages.len();
            self.store_batch(&messages).await?;
            self.all.confirm(&[]);
        }
        Ok(moved)
    }

    /// Stores messages, and notes where the receivers begin: each at the beginning of a part.
    async fn store_batch(&mut self, mut messages: &[Message]) -> Result<(), BuildError> {
        while let Some(head) = messages.first().map(Message::id) {
            let begins = |message: &Message| {
                let firsts = self.receivers.iter().filter_map(|receiver| receiver.first);
                firsts.into_iter().any(|first| first > head && first <= message.id())
            };
            let part = messages.iter().position(begins).unwrap_or(messages.len());
            let stored = self.import.store(&messages[..part]).await?;
            for receiver in self.receivers.iter_mut().filter(|found| found.start.is_none()) {
                receiver.start =
                    stored.filter(|_| receiver.first.is_some_and(|first| first <= head));
            }
            messages = &messages[part..];
        }
        Ok(())
    }
}

impl Waiting {
    async fn subscribe(
        log: &Log,
        name: &str,
        options: &ReceiverOptions,
        types: &DataTypes,
    ) -> Result<Self, BuildError> {
        let request = SubscriptionRequest::new(name, set(types, options), options);
        let subscription = log.subscribe(request.clone()).await?;
        let types = options.subscribe.iter().cloned().collect();
        Ok(Self { request, types, subscription, first: None, start: None })
    }
}

/// The first message that waits for a subscription. Changes of activity before it are done with.
async fn first(subscription: &dyn Subscription) -> Option<MessageId> {
    while let Some(batch) = subscription.next_batch(&limits()).await {
        let mut messages = batch.iter().filter_map(|(_, event)| match event {
            Event::Message(message) => Some(message.id()),
            Event::Activity(_) => None,
        });
        if let Some(first) = messages.next() {
            subscription.give_back();
            return Some(first);
        }
        subscription.confirm(&[]);
    }
    None
}

fn set(types: &DataTypes, options: &ReceiverOptions) -> TypeSet {
    let mut set = TypeSet::default();
    let subscribed = options.subscribe.iter().filter_map(|name| types.get(name));
    subscribed.for_each(|data_type| set.insert(data_type));
    set
}

fn limits() -> BatchLimits {
    let mut limits = BatchLimits::default();
    limits.size = AT_ONCE;
    limits
}
