//! The engine over NATS servers.

mod connection;
mod micro;
mod receive;
mod reports;
mod subject;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::connection::State as ConnectionState;
use async_nats::{Client, HeaderMap, ServerAddr};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::counts::Counts;
use crate::engine::{
    Engine, Options, Registration, RequestError, Sent, Signal, SignalError, State, SubscribeError,
    Subscription, TooLarge, Unreachable,
};
use crate::ident::Senders;
use crate::local::Local;
use crate::pending::Pending;
use crate::reconnect::without_password;
use crate::{
    Data, Envelope, ErrorReport, Ident, InvalidTopic, Kind, Message, Topic, envelope, health,
};

/// Names the groups that have a signal already.
const TAKEN: &str = "Gilmour-Taken";

/// How long the first connection and the acknowledgement of a subscription may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries requests and signals over NATS.
///
/// Exclusion groups are queue groups, so the server chooses who gets a message, and no lock is needed. Topics have to be subjects: tokens
/// without white space, `*` and `>`, joined by dots. A pattern in a group has to end in `.*` and have no other special character.
///
/// It connects when it is first used, and again whenever the connection is lost: after 100 ms at first, after 2 s at most, and then takes
/// up every subscription again. While there is none, requests and signals fail at once and say why.
///
/// Its services answer `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, so `nats micro` shows them. Dropping it ends everything that runs in it.
#[derive(Debug)]
pub struct NatsEngine {
    inner: Arc<Inner>,
    _stop: DropGuard,
}

/// Servers that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{url}` is not a URL of a NATS server; write one such as \"nats://127.0.0.1:4222\", several with commas between them"
)]
pub struct InvalidServers {
    url: String,
    #[source]
    source: std::io::Error,
}

struct Inner {
    local: Arc<Local>,
    servers: Vec<ServerAddr>,
    client: OnceCell<Client>,
    senders: Senders,
    /// The prefix of the subjects of replies to this process.
    inbox: String,
    pending: Pending<Raw>,
    state: watch::Sender<State>,
    /// True once the first attempt to connect has ended.
    tried: watch::Sender<bool>,
    /// Counts connections made and lost.
    epoch: AtomicU64,
    /// Refusals of the server, by subject.
    refusals: Mutex<HashMap<String, String>>,
    /// The tasks that listen, by subscription.
    running: Mutex<HashMap<u64, Running>>,
    micro: micro::Micro,
    queue: OnceCell<()>,
}

/// A reply as it came, or the reason why none comes.
type Raw = Result<async_nats::Message, Unreachable>;

/// A task that listens.
#[derive(Debug)]
struct Running {
    /// Ends it.
    end: CancellationToken,
    /// It has ended the subscription.
    ended: CancellationToken,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsEngine").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

impl NatsEngine {
    /// An engine on the servers at these URLs, with commas between them. Connects to nothing and spawns nothing yet.
    ///
    /// # Errors
    /// When one of them cannot be used. The text does not show a password.
    pub fn new(urls: &str, options: Options) -> Result<Self, InvalidServers> {
        let server = |url: &str| {
            let invalid = |source| InvalidServers { url: without_password(url), source };
            ServerAddr::from_str(url.trim()).map_err(invalid)
        };
        let servers = urls.split(',').map(server).collect::<Result<_, _>>()?;
        let stop = CancellationToken::new();
        let senders = Senders::default();
        let inner = Inner {
            local: Arc::new(Local::new(options, stop.clone())),
            servers,
            client: OnceCell::new(),
            inbox: format!("_INBOX.{}", senders.prefix().trim_end_matches('-')),
            senders,
            pending: Pending::default(),
            state: watch::Sender::new(State::Down("not connected yet".into())),
            tried: watch::Sender::new(false),
            epoch: AtomicU64::new(0),
            refusals: Mutex::default(),
            running: Mutex::default(),
            micro: micro::Micro::default(),
            queue: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner), _stop: stop.drop_guard() })
    }

    /// Connects, and waits until that has worked, at most this long. It keeps trying in any case. Cancel safe.
    ///
    /// # Errors
    /// When no server could be reached in time, with the last cause.
    pub async fn connect(&self, patience: Duration) -> Result<(), Unreachable> {
        self.inner.client().await?;
        let mut state = self.inner.state.subscribe();
        match tokio::time::timeout(patience, state.wait_for(State::is_up)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.inner.unreachable()),
        }
    }

    /// Whether NATS can carry this at all: the rules are those of the type.
    ///
    /// # Errors
    /// See [`InvalidTopic::Engine`].
    pub fn check(registration: &Registration) -> Result<(), InvalidTopic> {
        subject::check(registration)
    }
}

impl Inner {
    /// Publishes, unless there is no connection: what is published then would come late, and its reply to nothing.
    async fn publish(&self, subject: &str, headers: HeaderMap, text: String) -> Result<(), Lost> {
        let client = self.client.get().filter(|_| self.state.borrow().is_up());
        let client = client.ok_or_else(|| Lost::Unreachable(self.unreachable()))?;
        let size = text.len();
        let sent = client.publish_with_headers(subject.to_owned(), headers, text.into()).await;
        sent.map_err(|error| Lost::of(&error, size))
    }

    /// Publishes the answer to what was received. The engine need not be up: after a loss, a server passes requests on as soon as it has the one
    /// subscription, and the process that sent one waits for the answer.
    async fn answer(&self, subject: &str, text: String) -> Result<(), Lost> {
        let is_connected =
            |client: &&Client| client.connection_state() == ConnectionState::Connected;
        let client = self.client.get().filter(is_connected);
        let client = client.ok_or_else(|| Lost::Unreachable(self.unreachable()))?;
        let size = text.len();
        let sent = client.publish(subject.to_owned(), text.into()).await;
        sent.map_err(|error| Lost::of(&error, size))
    }

    /// Publishes with the address of this process, and waits for the first reply.
    async fn ask(&self, client: &Client, subject: String, text: String) -> Result<Raw, Lost> {
        let waiting = self.pending.wait(self.senders.next());
        let (to, size) = (format!("{}.{}", self.inbox, waiting.sender), text.len());
        let sent = client.publish_with_reply(subject, to, text.into()).await;
        sent.map_err(|error| Lost::of(&error, size))?;
        Ok(waiting.reply().await.unwrap_or_else(|| Err(self.unreachable())))
    }

    async fn request(
        self: &Arc<Self>,
        topic: &Topic,
        data: &Data,
    ) -> Result<Message, RequestError> {
        let subject = subject::of_topic(topic, Kind::Request)?;
        let client = self.connected().await?;
        let text = envelope::write(data, envelope::SENT, &self.senders.next());
        let reply = self.ask(client, subject, text).await.map_err(RequestError::from)??;
        if reply.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return Err(RequestError::NoSubscriber(topic.clone()));
        }
        let Ok(envelope) = Envelope::read(&reply.payload) else {
            self.local.counts.malformed.add();
            return Ok(Message::failure(crate::BAD_ANSWER, "the reply is not an envelope"));
        };
        let reply = Message::new(envelope.data, envelope.code);
        Ok(Message { code: reply.shown_code(), ..reply })
    }
}

/// Why something was not sent.
#[derive(Debug)]
enum Lost {
    Unreachable(Unreachable),
    TooLarge(TooLarge),
}

impl Lost {
    fn of(error: &async_nats::client::PublishError, size: usize) -> Self {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge(TooLarge(size)),
            _ => Self::Unreachable(Unreachable::new("nats", error.to_string())),
        }
    }
}

impl From<Lost> for RequestError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unreachable(error) => error.into(),
            Lost::TooLarge(error) => error.into(),
        }
    }
}

impl From<Lost> for SignalError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unreachable(error) => error.into(),
            Lost::TooLarge(error) => error.into(),
        }
    }
}

#[async_trait]
impl Engine for NatsEngine {
    fn name(&self) -> &'static str {
        "nats"
    }

    async fn subscribe(&self, registration: Registration) -> Result<Subscription, SubscribeError> {
        let service = registration.kind == Kind::Request;
        let subscription = self.inner.begin(registration).await?;
        if service {
            self.inner.answer_micro().await;
        }
        Ok(subscription)
    }

    async fn request(
        &self,
        topic: &Topic,
        data: &Data,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.inner.local.counts.request(timeout, self.inner.request(topic, data)).await
    }

    async fn signal(&self, signal: Signal<'_>) -> Result<Sent, SignalError> {
        let inner = &self.inner;
        inner.local.counts.signals.add();
        let subject = subject::of_topic(signal.topic, Kind::Slot)?;
        inner.connected().await?;
        let sender = inner.senders.next();
        let mut headers = HeaderMap::new();
        if !signal.taken_by.is_empty() {
            headers.insert(TAKEN, signal.taken_by.join(",").as_str());
        }
        let text = envelope::write(signal.data, envelope::SENT, &sender);
        inner.publish(&subject, headers, text).await?;
        Ok(Sent { sender, receivers: None })
    }

    fn check(&self, registration: &Registration) -> Result<(), InvalidTopic> {
        subject::check(registration)
    }

    fn report(&self, report: ErrorReport) {
        let inner = self.inner.clone();
        self.inner.local.spawn(async move { inner.report(&report).await });
    }

    async fn announce(&self, ident: &Ident) -> Result<Subscription, SubscribeError> {
        self.inner.begin(health::heartbeat(ident, &self.inner.local)).await
    }

    /// Idents are not kept anywhere: a process that listens for heartbeats is known by that.
    async fn withdraw(&self, _: &Ident) {}

    fn state(&self) -> watch::Receiver<State> {
        self.inner.state.subscribe()
    }

    fn counts(&self) -> &Counts {
        &self.inner.local.counts
    }

    async fn close(&self, patience: Duration) {
        let inner = &self.inner;
        inner.local.clear();
        inner.running.lock().values().for_each(|running| running.end.cancel());
        // Replies of calls that run are still sent.
        inner.local.finish(patience).await;
        inner.state.send_replace(State::Down("the engine is closed".into()));
        inner.pending.settle_all(|| Err(Unreachable::new("nats", "the engine is closed")));
        if let Some(client) = inner.client.get() {
            // What was published may still be on its way out.
            let _ = tokio::time::timeout(PATIENCE.min(patience), client.flush()).await;
        }
    }
}
