//! The handlers and receivers of a running host.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::start::{BuiltHandler, BuiltReceiver};
use super::{Shared, StartError};
use crate::delivery::{Counts, Delivery, InHand, Recall, Replay, Reports, Rest, Shedding};
use crate::engine::{Capabilities, Subscription, SubscriptionRequest};
use crate::error::or_default;
use crate::restart::Restarts;
use crate::status::{DeliveryStatus, PluginStatus, Role, StatusCell};
use crate::supervise::Supervised;
use crate::telemetry::Gauge;
use crate::{HandlerContext, ReceiverContext};

/// The number of replays that may be queued for a receiver; further calls wait.
const REPLAYS: usize = 4;

/// The running plugins, in the order of the configuration.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) handlers: Vec<HandlerPart>,
    pub(super) receivers: Vec<ReceiverPart>,
}

/// A running handler.
pub(super) struct HandlerPart {
    pub(super) name: String,
    pub(super) cell: StatusCell,
    pub(super) stop: CancellationToken,
    /// `None` once the host stops.
    pub(super) task: Option<JoinHandle<()>>,
}

/// A running receiver: its delivery, and the task that sheds its backlog, because delivery may be
/// stuck.
pub(super) struct ReceiverPart {
    pub(super) state: Arc<ReceiverState>,
    pub(super) retire: CancellationToken,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

/// The queryable state of a running receiver.
pub(super) struct ReceiverState {
    pub(super) name: String,
    pub(super) cell: StatusCell,
    pub(super) subscription: Arc<dyn Subscription>,
    pub(super) replay: mpsc::Sender<Replay>,
    counts: Arc<Counts>,
    backlog_messages: Gauge,
    backlog_bytes: Gauge,
    backlog_age: Gauge,
}

impl ReceiverState {
    fn delivery(&self) -> DeliveryStatus {
        let level = self.subscription.level();
        DeliveryStatus {
            backlog_messages: level.events,
            backlog_bytes: level.bytes,
            delivered: self.counts.delivered.get(),
            retried: self.counts.retried.get(),
            dead_lettered: self.counts.dead_lettered.get(),
            skipped: self.counts.subscription.skipped.get(),
            oldest_seconds: level.oldest.map(|oldest| oldest.elapsed().as_secs()),
        }
    }

    pub(super) fn status(&self) -> PluginStatus {
        PluginStatus {
            delivery: Some(self.delivery()),
            subscription: self.subscription.status(),
            ..self.cell.snapshot()
        }
    }

    pub(super) fn refresh_gauges(&self) {
        let level = self.subscription.level();
        self.backlog_messages.set(i64::try_from(level.events).unwrap_or(i64::MAX));
        self.backlog_bytes.set(i64::try_from(level.bytes).unwrap_or(i64::MAX));
        let age = level.oldest.map_or(0, |oldest| oldest.elapsed().as_secs());
        self.backlog_age.set(i64::try_from(age).unwrap_or(i64::MAX));
    }
}

/// A receiver with its subscription, not running yet.
pub(super) struct Subscribed {
    state: Arc<ReceiverState>,
    delivery: Delivery,
    engine: Capabilities,
}

impl Shared {
    /// Subscribes a receiver, or takes over the subscription of the one that it replaces.
    pub(super) async fn subscribe(&self, built: BuiltReceiver) -> Result<Subscribed, StartError> {
        let BuiltReceiver { build, factory, options, types, receiver, cell } = built;
        let name = build.name().to_owned();
        let counts = Counts::new(&self.services.telemetry, &name);
        let request = SubscriptionRequest::new(build.name.clone(), types, &options)
            .with_counts(counts.subscription.clone());
        let subscription = self.bus.engine().subscribe(request).await.map_err(|error| {
            StartError::Plugin { plugin: format!("receivers.{name}"), source: error.into() }
        })?;
        if let Some(receiver) = &receiver {
            cell.running(or_default(|| receiver.endpoints()));
        }
        let (replay, replays) = mpsc::channel(REPLAYS);
        let retired = CancellationToken::new();
        let context = ReceiverContext {
            name: build.name.clone(),
            shutdown: retired.child_token(),
            services: self.services.clone(),
        };
        let state = self.state_of(&name, &cell, &subscription, &counts, replay);
        let delivery = Delivery {
            subscription,
            factory,
            reports: Reports::default(),
            in_hand: self.remember(&name),
            build,
            options,
            status: cell,
            counts,
            restarts: Restarts::default(),
            receiver,
            stopping: self.stop_receivers.clone(),
            retired,
            context,
            dead_letters: self.dead_letters.clone(),
            recall: Recall::new(self.services.activity.clone()),
            replays,
            rest: Rest::new(self.last_call.clone()),
        };
        let engine = self.bus.engine().capabilities();
        Ok(Subscribed { state: Arc::new(state), delivery, engine })
    }

    fn state_of(
        &self,
        name: &str,
        cell: &StatusCell,
        subscription: &Arc<dyn Subscription>,
        counts: &Arc<Counts>,
        replay: mpsc::Sender<Replay>,
    ) -> ReceiverState {
        let labels = [("receiver", name)];
        let gauge = |what, help| self.services.telemetry.gauge(what, help, &labels);
        ReceiverState {
            name: name.to_owned(),
            cell: cell.clone(),
            subscription: subscription.clone(),
            replay,
            counts: counts.clone(),
            backlog_messages: gauge("receiver_backlog_messages", "Messages in the backlog"),
            backlog_bytes: gauge("receiver_backlog_bytes", "Bytes in the backlog"),
            backlog_age: gauge(
                "receiver_backlog_age_seconds",
                "Age of the oldest message in the backlog",
            ),
        }
    }

    /// The record of the receiver's messages in flight when the last process ended.
    fn remember(&self, name: &str) -> InHand {
        let Some(dir) = &self.state_dir else { return InHand::default() };
        InHand::open(dir, name, self.turns.clone()).unwrap_or_else(|error| {
            tracing::warn!(receiver = name, "cannot record the messages in flight: {error}");
            InHand::default()
        })
    }

    /// Creates a supervisor for a handler and runs it.
    pub(super) fn spawn_handler(&self, built: BuiltHandler) -> HandlerPart {
        let name = built.build.name().to_owned();
        let cell = StatusCell::new(&name, Role::Handler);
        cell.running(or_default(|| built.handler.endpoints()));
        let stop = self.stop_handlers.child_token();
        let cx = HandlerContext {
            name: built.build.name.clone(),
            shutdown: stop.clone(),
            services: self.services.of_handler(&*built.handler),
        };
        let labels = [("handler", name.as_str())];
        let help = "Times the handler was restarted";
        let supervised = Supervised {
            factory: built.factory,
            restarted: cx.telemetry().counter("handler_restarts", help, &labels),
            build: built.build,
            cx,
            status: cell.clone(),
            restarts: Restarts::default(),
            build_timeout: self.start_timeout,
            handler: Some(built.handler),
        };
        HandlerPart { name, cell, stop, task: Some(tokio::spawn(supervised.run())) }
    }
}

impl Subscribed {
    /// Starts to deliver.
    pub(super) fn spawn(self) -> ReceiverPart {
        let retire = self.delivery.retired.clone();
        let delivered = CancellationToken::new();
        let shedding = Shedding::of(&self.delivery, self.engine)
            .map(|shedding| shedding.run(delivered.clone()));
        let delivery = async move {
            let _delivered = delivered.drop_guard();
            self.delivery.run().await;
        };
        let mut tasks = vec![tokio::spawn(delivery)];
        tasks.extend(shedding.map(tokio::spawn));
        ReceiverPart { state: self.state, retire, tasks }
    }
}

/// The parts under a lock that is never held across an await.
pub(super) type LockedParts = Mutex<Parts>;
