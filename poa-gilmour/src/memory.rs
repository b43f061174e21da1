//! The engine without a broker: everything within one process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::counts::Counts;
use crate::engine::{
    Engine, Options, Registration, Release, RequestError, Sent, Signal, SignalError, State,
    SubscribeError, Subscription, Unreachable,
};
use crate::health;
use crate::ident::Senders;
use crate::local::{Entry, Local, call, report_of};
use crate::report::{ERROR, ERRORS, QUEUE_LENGTH};
use crate::{Data, ErrorPolicy, ErrorReport, Ident, InvalidTopic, Kind, Message, Topic};

/// Carries requests and signals within a process. Nothing to install; patterns match as in Redis.
///
/// Dropping it ends everything that runs in it.
#[derive(Debug)]
pub struct MemoryEngine {
    inner: Arc<Inner>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Inner {
    local: Arc<Local>,
    senders: Senders,
    state: watch::Sender<State>,
    queue: Mutex<VecDeque<String>>,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl MemoryEngine {
    /// An engine with these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let stop = CancellationToken::new();
        let inner = Inner {
            local: Arc::new(Local::new(options, stop.clone())),
            senders: Senders::default(),
            state: watch::Sender::new(State::Up),
            queue: Mutex::default(),
        };
        Self { inner: Arc::new(inner), _stop: stop.drop_guard() }
    }

    /// The newest reports of [`ErrorPolicy::Queue`], the newest first, as JSON.
    #[must_use]
    pub fn error_queue(&self) -> Vec<String> {
        self.inner.queue.lock().iter().cloned().collect()
    }
}

impl Release for Inner {
    fn release(&self, id: u64) -> Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
        self.local.remove(id);
        None
    }
}

impl Inner {
    /// Calls a handler, and reports what failed.
    async fn run(
        &self,
        entry: &Entry,
        channel: &Arc<str>,
        sender: &Arc<str>,
        data: &Data,
    ) -> Message {
        let reply = self.local.execute(entry, call(entry, channel, sender, data)).await;
        if let Some(report) = report_of(channel, sender, data, &reply) {
            self.report(&report);
        }
        reply
    }

    fn report(&self, report: &ErrorReport) {
        match self.local.options.errors {
            ErrorPolicy::Ignore => {}
            ErrorPolicy::Publish => {
                self.deliver(ERRORS, report.bare());
                self.deliver(ERROR, report.wrapped(&self.senders.next()));
            }
            ErrorPolicy::Queue => {
                let mut queue = self.queue.lock();
                queue.push_front(report.bare());
                queue.truncate(QUEUE_LENGTH);
            }
        }
    }

    /// Gives a report to its subscribers. Failures of those are not reported: that would never end.
    fn deliver(&self, channel: &str, report: String) {
        let Ok(data) = Data::parse(&report) else { return };
        let (channel, sender): (Arc<str>, _) = (channel.into(), self.senders.next());
        for entry in self.local.chosen_by_any(&channel, &[]) {
            let (local, call) = (self.local.clone(), call(&entry, &channel, &sender, &data));
            self.local.spawn(async move {
                local.execute(&entry, call).await;
            });
        }
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn subscribe(&self, registration: Registration) -> Result<Subscription, SubscribeError> {
        let (id, _) = self.inner.local.add(registration);
        Ok(Subscription::new(id, self.inner.clone()))
    }

    async fn request(
        &self,
        topic: &Topic,
        data: &Data,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let counts = &self.inner.local.counts;
        counts.requests.add();
        let channel = topic.channel(Kind::Request);
        let mut chosen = self.inner.local.chosen(&channel, false);
        chosen.retain(|entry| entry.registration.kind == Kind::Request);
        if chosen.is_empty() {
            counts.unanswered.add();
            return Err(RequestError::NoSubscriber(topic.clone()));
        }
        let sender = self.inner.senders.next();
        let (replies, mut first) = mpsc::channel(1);
        for entry in chosen {
            let (inner, replies) = (self.inner.clone(), replies.clone());
            let (channel, sender, data) = (channel.clone(), sender.clone(), data.clone());
            self.inner.local.spawn(async move {
                let reply = inner.run(&entry, &channel, &sender, &data).await;
                // The first of several groups wins; and who asked may have gone.
                if replies.try_send(reply).is_err() {
                    inner.local.counts.late_replies.add();
                }
            });
        }
        drop(replies);
        match tokio::time::timeout(timeout, first.recv()).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(Unreachable::new("memory", "the engine is closed").into()),
            Err(_) => {
                counts.timed_out.add();
                Err(RequestError::TimedOut)
            }
        }
    }

    async fn signal(&self, signal: Signal<'_>) -> Result<Sent, SignalError> {
        self.inner.local.counts.signals.add();
        let channel = signal.topic.channel(Kind::Slot);
        let chosen = self.inner.local.chosen_by_any(&channel, signal.taken_by);
        let sender = self.inner.senders.next();
        let receivers = Some(chosen.len() as u64);
        for entry in chosen {
            let inner = self.inner.clone();
            let (channel, sender, data) = (channel.clone(), sender.clone(), signal.data.clone());
            self.inner.local.spawn(async move {
                inner.run(&entry, &channel, &sender, &data).await;
            });
        }
        Ok(Sent { sender, receivers })
    }

    fn check(&self, _: &Registration) -> Result<(), InvalidTopic> {
        Ok(())
    }

    fn report(&self, report: ErrorReport) {
        self.inner.report(&report);
    }

    async fn announce(&self, ident: &Ident) -> Result<Subscription, SubscribeError> {
        self.subscribe(health::heartbeat(ident, &self.inner.local)).await
    }

    async fn withdraw(&self, _: &Ident) {}

    fn state(&self) -> watch::Receiver<State> {
        self.inner.state.subscribe()
    }

    fn counts(&self) -> &Counts {
        &self.inner.local.counts
    }

    async fn close(&self, patience: Duration) {
        self.inner.local.clear();
        self.inner.state.send_replace(State::Down("the engine is closed".into()));
        self.inner.local.finish(patience).await;
    }
}
