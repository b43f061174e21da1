//! The seam between Gilmour and what carries it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::counts::Counts;
use crate::message::{NO_SUBSCRIBER, TIMED_OUT, UNAVAILABLE};
use crate::{Data, ErrorPolicy, ErrorReport, Ident, InvalidTopic, Kind, Message, SlotTopic, Topic};

/// The time of a handler unless it is set, and of a client that sets none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The group of services that name none.
pub const DEFAULT_GROUP: &str = "_default";

/// Carries requests and signals: in process, over Redis, over NATS.
///
/// Implementors: every method may be dropped at any `.await` and leaves nothing behind.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// `memory`, `redis`, `nats`.
    fn name(&self) -> &'static str;

    /// Subscribes, and returns once the broker has acknowledged. Dropping the subscription ends it. Cancel safe: a subscription that was
    /// not returned is ended.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    async fn subscribe(&self, registration: Registration) -> Result<Subscription, SubscribeError>;

    /// Sends a request and waits for the first reply. Cancel safe: a late reply is dropped.
    ///
    /// # Errors
    /// See [`RequestError`].
    async fn request(
        &self,
        topic: &Topic,
        data: &Data,
        timeout: Duration,
    ) -> Result<Message, RequestError>;

    /// Sends a signal.
    ///
    /// # Errors
    /// See [`SignalError`].
    async fn signal(&self, signal: Signal<'_>) -> Result<Sent, SignalError>;

    /// Whether the engine can carry this at all. Asks no broker.
    ///
    /// # Errors
    /// When the topic or its group breaks a rule of the broker.
    fn check(&self, registration: &Registration) -> Result<(), InvalidTopic>;

    /// Tells monitors of a failure, as [`Options::errors`] says. Never waits.
    fn report(&self, report: ErrorReport);

    /// Makes this process known to health monitors, and answers their heartbeats until the subscription ends.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    async fn announce(&self, ident: &Ident) -> Result<Subscription, SubscribeError>;

    /// Takes the announcement back.
    async fn withdraw(&self, ident: &Ident);

    /// Whether the broker can be reached now, and all subscriptions stand.
    fn state(&self) -> watch::Receiver<State>;

    /// The counters.
    fn counts(&self) -> &Counts;

    /// Ends all subscriptions, waits for handlers that run, at most this long, and lets the connections go.
    async fn close(&self, patience: Duration);
}

/// How an engine treats what all engines share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether of the slots of one group only one gets a signal. The Go library has no such rule.
    pub slot_groups: bool,
    /// The policy for replies that failed.
    pub errors: ErrorPolicy,
    /// The code of a handler that was not ready in time. Go peers send 499, Ruby and Java 504.
    pub timeout_code: i64,
    /// The most handlers that run at once. A request beyond it is answered with 503, a signal is dropped and counted.
    pub max_calls: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            slot_groups: true,
            errors: ErrorPolicy::Ignore,
            timeout_code: TIMED_OUT,
            max_calls: 10_000,
        }
    }
}

impl Options {
    /// The same with or without groups of slots.
    #[must_use]
    pub fn with_slot_groups(self, slot_groups: bool) -> Self {
        Self { slot_groups, ..self }
    }

    /// The same with this policy.
    #[must_use]
    pub fn with_errors(self, errors: ErrorPolicy) -> Self {
        Self { errors, ..self }
    }

    /// The same with this code of a timeout.
    #[must_use]
    pub fn with_timeout_code(self, timeout_code: i64) -> Self {
        Self { timeout_code, ..self }
    }

    /// The same with this bound.
    #[must_use]
    pub fn with_max_calls(self, max_calls: usize) -> Self {
        Self { max_calls, ..self }
    }
}

/// A request or a signal as a handler gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// Request or signal.
    pub kind: Kind,
    /// The topic, without the prefix of its channel; never a pattern.
    pub topic: Arc<str>,
    /// The whole name of the channel.
    pub channel: Arc<str>,
    /// The id of the message.
    pub sender: Arc<str>,
    /// The payload.
    pub data: Data,
    /// The time the handler has.
    pub timeout: Duration,
}

impl Call {
    /// Reads a call as the gateway sends it to a node over HTTP: `{topic, sender, data, timeout}`.
    ///
    /// # Errors
    /// When it is not such an object.
    pub fn read(kind: Kind, json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Body {
            topic: String,
            sender: String,
            data: Data,
            timeout: u64,
        }
        let Body { topic, sender, data, timeout } = serde_json::from_slice(json)?;
        let channel = format!("{}{topic}", kind.prefix()).into();
        let (topic, sender, timeout) = (topic.into(), sender.into(), Duration::from_secs(timeout));
        Ok(Self { kind, topic, channel, sender, data, timeout })
    }
}

/// Answers requests or takes signals.
///
/// A closure `|call: Call| async { … }` is one.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The result: for a request the reply, for a signal whether it was handled (codes from 300 are reported).
    ///
    /// The future is dropped when its time is over, and only then the caller is told. A panic is a reply with code 500.
    async fn handle(&self, call: Call) -> Message;
}

#[async_trait]
impl<F, Fut> Handler for F
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Message> + Send,
{
    async fn handle(&self, call: Call) -> Message {
        self(call).await
    }
}

/// A handler and what it is for.
#[derive(Clone)]
pub struct Registration {
    pub(crate) kind: Kind,
    pub(crate) channel: Arc<str>,
    pub(crate) pattern: bool,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) timeout: Duration,
    /// The group counts even where those of slots are ignored.
    pub(crate) strict: bool,
    pub(crate) handler: Arc<dyn Handler>,
}

impl Registration {
    /// A service: answers requests of this topic, in the group [`DEFAULT_GROUP`]. Of each group one handler answers a request.
    pub fn service(topic: &Topic, handler: impl Handler) -> Self {
        Self {
            kind: Kind::Request,
            channel: topic.channel(Kind::Request),
            pattern: false,
            group: Some(DEFAULT_GROUP.into()),
            timeout: DEFAULT_TIMEOUT,
            strict: false,
            handler: Arc::new(handler),
        }
    }

    /// A slot: gets signals of this topic, in no group.
    pub fn slot(topic: &SlotTopic, handler: impl Handler) -> Self {
        Self {
            kind: Kind::Slot,
            channel: topic.channel(),
            pattern: topic.is_pattern(),
            group: None,
            timeout: DEFAULT_TIMEOUT,
            strict: false,
            handler: Arc::new(handler),
        }
    }

    /// The answers to heartbeats: without a group, since an ident is of one process alone.
    pub(crate) fn heartbeat(ident: &Ident, handler: impl Handler) -> Self {
        Self {
            kind: Kind::Request,
            channel: ident.channel(),
            pattern: false,
            group: None,
            timeout: DEFAULT_TIMEOUT,
            strict: false,
            handler: Arc::new(handler),
        }
    }

    /// The same in this exclusion group; an empty one is the default of its kind.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = match (group, self.kind) {
            ("", Kind::Request) => Some(DEFAULT_GROUP.into()),
            ("", Kind::Slot) => None,
            (group, _) => Some(group.into()),
        };
        self
    }

    /// The same, in its group even where an engine ignores the groups of slots.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The same with this time for each call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The channel, or the pattern of channels.
    #[must_use]
    pub fn channel(&self) -> &Arc<str> {
        &self.channel
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("channel", &self.channel)
            .field("group", &self.group)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A signal to send.
#[derive(Clone, Debug)]
pub struct Signal<'a> {
    pub(crate) topic: &'a Topic,
    pub(crate) data: &'a Data,
    pub(crate) taken_by: &'a [Arc<str>],
}

impl<'a> Signal<'a> {
    /// A signal for all slots.
    #[must_use]
    pub fn new(topic: &'a Topic, data: &'a Data) -> Self {
        Self { topic, data, taken_by: &[] }
    }

    /// The same, which the slots of these groups do not get: the sender has handled it for them.
    #[must_use]
    pub fn taken_by(self, groups: &'a [Arc<str>]) -> Self {
        Self { taken_by: groups, ..self }
    }
}

/// A signal that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The id of the message.
    pub sender: Arc<str>,
    /// How many subscriptions it reached, where the broker can tell.
    pub receivers: Option<u64>,
}

type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends subscriptions.
pub(crate) trait Release: Send + Sync {
    /// Ends it now as far as this process goes. The future waits for the broker, and may be dropped.
    fn release(&self, id: u64) -> Option<Ended>;
}

/// A subscription that stands until this is dropped.
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscription {
    id: u64,
    release: Option<Arc<dyn Release>>,
}

impl Subscription {
    pub(crate) fn new(id: u64, release: Arc<dyn Release>) -> Self {
        Self { id, release: Some(release) }
    }

    /// Ends it, and waits until the broker has acknowledged that. Calls that run are not disturbed. Cancel safe: it ends in any case.
    pub async fn end(mut self) {
        if let Some(release) = self.release.take()
            && let Some(ended) = release.release(self.id)
        {
            ended.await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            drop(release.release(self.id));
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({})", self.id)
    }
}

/// Whether an engine can work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The broker is reached, and all subscriptions stand.
    Up,
    /// It is not, for this reason.
    Down(Arc<str>),
}

impl State {
    /// Whether it can work.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}

/// The broker cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{engine} cannot be reached: {cause}")]
pub struct Unreachable {
    engine: &'static str,
    cause: Arc<str>,
}

impl Unreachable {
    /// This engine's broker, for this reason.
    pub fn new(engine: &'static str, cause: impl Into<Arc<str>>) -> Self {
        Self { engine, cause: cause.into() }
    }
}

/// Why a subscription does not stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The broker cannot be reached; later it may.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The engine cannot carry this topic.
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    /// The broker refused it.
    #[error("the broker refuses a subscription to `{channel}`: {cause}")]
    Refused {
        /// The channel.
        channel: Arc<str>,
        /// The broker's reason.
        cause: String,
    },
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing was published: there is no subscriber.
    #[error("no active subscriber for `{0}`")]
    NoSubscriber(Topic),
    /// There was no reply in time.
    #[error("Execution timed out")]
    TimedOut,
    /// The broker cannot be reached, or went away with the reply.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The engine cannot carry this topic.
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    /// The broker carries no message of this size.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// Too many calls are under way in this process.
    #[error("too many calls are under way; try again later")]
    Busy,
}

/// The broker carries no message of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has {0} bytes, more than the broker carries; raise its limit or send less")]
pub struct TooLarge(pub usize);

/// Why a signal was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// The broker cannot be reached; later it may.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The engine cannot carry this topic.
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    /// The broker carries no message of this size.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl RequestError {
    /// The code that tells it in a message.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::NoSubscriber(_) => NO_SUBSCRIBER,
            Self::TimedOut => TIMED_OUT,
            Self::Topic(_) => crate::message::BAD_REQUEST,
            Self::TooLarge(_) => crate::message::TOO_LARGE,
            Self::Unreachable(_) | Self::Busy => UNAVAILABLE,
        }
    }

    /// The same as a message: what a client of the first libraries is given.
    #[must_use]
    pub fn into_message(self) -> Message {
        Message::failure(self.code(), &self.to_string())
    }
}
