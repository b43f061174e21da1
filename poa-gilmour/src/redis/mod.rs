//! The engine over a Redis server, wire-compatible with the peers in Go, Ruby and Java.

mod commands;
mod driver;
mod link;
mod receive;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::counts::Counts;
use crate::engine::{
    Engine, Options, Registration, Release, RequestError, Sent, Signal, SignalError, State,
    SubscribeError, Subscription, Unreachable,
};
use crate::ident::Senders;
use crate::local::Local;
use crate::pending::Pending;
use crate::reconnect::without_password;
use crate::{
    Data, ErrorPolicy, ErrorReport, Ident, InvalidTopic, Kind, Message, Topic, envelope, health,
};
use commands::Commands;
use link::{Key, Link, Standing};

/// How many reports may wait to be published.
const REPORTS: usize = 1000;

/// The prefix of the channels of replies.
const RESPONSE: &str = "gilmour.response.";

/// Carries requests and signals over a Redis server.
///
/// It connects when it is first used, and again whenever the connection is lost: after 100 ms at first, after 2 s at most, and then takes up
/// every subscription again. While there is none, requests and signals fail at once and say why.
///
/// Dropping it ends everything that runs in it.
#[derive(Debug)]
pub struct RedisEngine {
    inner: Arc<Inner>,
    _stop: DropGuard,
}

/// The result of a request.
type Reply = Result<Message, Unreachable>;

#[derive(Debug)]
pub(crate) struct Inner {
    local: Arc<Local>,
    client: redis::Client,
    senders: Senders,
    /// Requests that wait for their replies, by sender.
    pending: Pending<Reply>,
    link: Link,
    commands: Commands,
    idents: Mutex<Vec<Ident>>,
    reports: mpsc::Sender<ErrorReport>,
    to_report: Mutex<Option<mpsc::Receiver<ErrorReport>>>,
    started: Once,
}

/// The address of a Redis server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{url}` is not a URL of a Redis server; write one such as \"redis://127.0.0.1:6379\" or \"redis://:password@host:6379/0\""
)]
pub struct InvalidUrl {
    url: String,
    #[source]
    source: redis::RedisError,
}

impl RedisEngine {
    /// An engine on the server at this URL. Connects to nothing and spawns nothing yet.
    ///
    /// # Errors
    /// When the URL cannot be used. The text does not show a password.
    pub fn new(url: &str, options: Options) -> Result<Self, InvalidUrl> {
        let client = redis::Client::open(url)
            .map_err(|source| InvalidUrl { url: without_password(url), source })?;
        let stop = CancellationToken::new();
        let (reports, to_report) = mpsc::channel(REPORTS);
        let inner = Inner {
            local: Arc::new(Local::new(options, stop.clone())),
            client,
            senders: Senders::default(),
            pending: Pending::default(),
            link: Link::default(),
            commands: Commands::default(),
            idents: Mutex::default(),
            reports,
            to_report: Mutex::new(Some(to_report)),
            started: Once::new(),
        };
        Ok(Self { inner: Arc::new(inner), _stop: stop.drop_guard() })
    }

    /// Connects, and waits until that has worked, at most this long. It keeps trying in any case.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the server could not be reached in time, with the last cause.
    ///
    /// # Panics
    /// Outside a tokio runtime, as every method that may connect.
    pub async fn connect(&self, patience: Duration) -> Result<(), Unreachable> {
        self.inner.start();
        let mut state = self.inner.link.state();
        let up = tokio::time::timeout(patience, state.wait_for(State::is_up)).await;
        match up {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.inner.unreachable()),
        }
    }
}

impl Inner {
    /// Starts the connection, once.
    fn start(self: &Arc<Self>) {
        self.started.call_once(|| {
            let (connection, reporter) = (self.clone(), self.clone());
            self.local.spawn_endless(async move { connection.stay_connected().await });
            if let Some(reports) = self.to_report.lock().take() {
                self.local.spawn_endless(async move { reporter.publish_reports(reports).await });
            }
        });
    }

    fn unreachable(&self) -> Unreachable {
        Unreachable::new("redis", self.link.cause())
    }

    /// The connection for commands, if there is one.
    ///
    /// The first use of an engine waits for its first attempt to connect.
    async fn connection(
        self: &Arc<Self>,
    ) -> Result<redis::aio::MultiplexedConnection, Unreachable> {
        self.start();
        self.link.tried().await;
        self.commands.connection().ok_or_else(|| self.unreachable())
    }

    /// A command failed: when the connection is to blame, it is made again.
    fn failed(&self, error: &redis::RedisError) -> Unreachable {
        if error.is_unrecoverable_error() || error.is_io_error() {
            self.link.broken();
        }
        Unreachable::new("redis", error.to_string())
    }

    async fn ask(self: &Arc<Self>, topic: &Topic, data: &Data) -> Result<Message, RequestError> {
        let channel = topic.channel(Kind::Request);
        let connection = self.connection().await?;
        let none = || RequestError::NoSubscriber(topic.clone());
        let own = self.link.stands(&Key::exact(channel.clone()));
        let listens = own
            || self
                .commands
                .has_subscriber(connection.clone(), &channel)
                .await
                .map_err(|e| self.failed(&e))?;
        if !listens {
            return Err(none());
        }
        let waiting = self.pending.wait(self.senders.next());
        let text = envelope::write(data, envelope::SENT, &waiting.sender);
        let published = self.commands.publish(connection, &channel, &text).await;
        if published.map_err(|error| self.failed(&error))? == 0 {
            self.commands.forget(&channel);
            return Err(none());
        }
        let reply = waiting.reply().await;
        Ok(reply.unwrap_or_else(|| Err(self.unreachable()))?)
    }
}

impl Release for Inner {
    fn release(&self, id: u64) -> Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
        let removed = self.local.remove(id)?;
        if !removed.last {
            return None;
        }
        let settled =
            self.link.changed(Key { channel: removed.channel, pattern: removed.pattern })?;
        Some(Box::pin(async move {
            // Whatever became of it, it does not stand.
            let _ = settled.await;
        }))
    }
}

#[async_trait]
impl Engine for RedisEngine {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn subscribe(&self, registration: Registration) -> Result<Subscription, SubscribeError> {
        let inner = &self.inner;
        inner.start();
        inner.link.tried().await;
        let channel = registration.channel.clone();
        let key = Key { channel: channel.clone(), pattern: registration.pattern };
        let (id, _) = inner.local.add(registration);
        let subscription = Subscription::new(id, inner.clone());
        match inner.link.want(key) {
            Standing::Now => Ok(subscription),
            Standing::Never => Err(inner.unreachable().into()),
            Standing::Soon(settled) => match settled.await {
                Ok(Ok(())) => Ok(subscription),
                Ok(Err(cause)) => Err(SubscribeError::Refused { channel, cause }),
                Err(_) => Err(inner.unreachable().into()),
            },
        }
    }

    async fn request(
        &self,
        topic: &Topic,
        data: &Data,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.inner.local.counts.request(timeout, self.inner.ask(topic, data)).await
    }

    async fn signal(&self, signal: Signal<'_>) -> Result<Sent, SignalError> {
        let inner = &self.inner;
        inner.local.counts.signals.add();
        let connection = inner.connection().await?;
        let sender = inner.senders.next();
        for group in signal.taken_by {
            let taken = inner.commands.lock(connection.clone(), &sender, group).await;
            taken.map_err(|error| inner.failed(&error))?;
        }
        let text = envelope::write(signal.data, envelope::SENT, &sender);
        let channel = signal.topic.channel(Kind::Slot);
        let published = inner.commands.publish(connection, &channel, &text).await;
        let receivers = published.map_err(|error| inner.failed(&error))?;
        Ok(Sent { sender, receivers: Some(receivers) })
    }

    fn check(&self, _: &Registration) -> Result<(), InvalidTopic> {
        Ok(())
    }

    fn report(&self, report: ErrorReport) {
        self.inner.report(report);
    }

    async fn announce(&self, ident: &Ident) -> Result<Subscription, SubscribeError> {
        let inner = &self.inner;
        let connection = inner.connection().await?;
        let subscription = self.subscribe(health::heartbeat(ident, &inner.local)).await?;
        inner.idents.lock().push(ident.clone());
        let announced = inner.commands.announce(connection, ident).await;
        announced.map_err(|error| inner.failed(&error))?;
        Ok(subscription)
    }

    async fn withdraw(&self, ident: &Ident) {
        self.inner.idents.lock().retain(|known| known != ident);
        if let Some(connection) = self.inner.commands.connection()
            && let Err(error) = self.inner.commands.withdraw(connection, ident.as_str()).await
        {
            tracing::warn!("ident {ident} stays in {}: {error}", health::KNOWN_HOSTS);
        }
    }

    fn state(&self) -> watch::Receiver<State> {
        self.inner.link.state()
    }

    fn counts(&self) -> &Counts {
        &self.inner.local.counts
    }

    async fn close(&self, patience: Duration) {
        let idents = std::mem::take(&mut *self.inner.idents.lock());
        for ident in &idents {
            self.withdraw(ident).await;
        }
        let deadline = Instant::now() + patience;
        self.inner.local.clear();
        self.inner.link.closed();
        self.inner.local.finish(deadline.saturating_duration_since(Instant::now())).await;
    }
}

impl Inner {
    fn report(&self, report: ErrorReport) {
        if self.local.options.errors != ErrorPolicy::Ignore
            && self.reports.try_send(report).is_err()
        {
            self.local.counts.lost_reports.add();
        }
    }

    async fn publish_reports(&self, mut reports: mpsc::Receiver<ErrorReport>) {
        while let Some(report) = reports.recv().await {
            let published = match self.commands.connection() {
                Some(connection) => {
                    let sender = self.senders.next();
                    let policy = self.local.options.errors;
                    self.commands.report(connection, &report, policy, &sender).await.is_ok()
                }
                None => false,
            };
            if !published {
                self.local.counts.lost_reports.add();
            }
        }
    }
}
