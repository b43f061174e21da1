//! Gilmour as programs use it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::compose::{Caller, Composition};
use crate::engine::{
    DEFAULT_TIMEOUT, Engine, Registration, RequestError, Sent, Signal, SignalError, SubscribeError,
    Subscription,
};
use crate::report::{ERROR, ERRORS};
use crate::{Call, Data, ErrorReport, Handler, Message, Response, SlotTopic, Topic};

/// A client and a server on one engine. Cloning is cheap.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use poa_gilmour::{Call, Data, Gilmour, MemoryEngine, Message, Topic};
///
/// let gilmour = Gilmour::new(MemoryEngine::default());
/// let echo = Topic::new("echo")?;
/// let _service = gilmour.reply(&echo, async |call: Call| Message::ok(call.data)).await?;
/// let reply = gilmour.request(&echo, &Data::text("Hello")).await?;
/// assert_eq!((reply.code, reply.data.json()), (200, "\"Hello\""));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Gilmour {
    engine: Arc<dyn Engine>,
    timeout: Duration,
}

impl Gilmour {
    /// On this engine.
    #[must_use]
    pub fn new(engine: impl Engine) -> Self {
        Self::shared(Arc::new(engine))
    }

    /// On an engine that others use as well.
    #[must_use]
    pub fn shared(engine: Arc<dyn Engine>) -> Self {
        Self { engine, timeout: DEFAULT_TIMEOUT }
    }

    /// The same with this time for every request; ten minutes if not set.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Answers requests of this topic, until the subscription is dropped. Of all handlers in the group `_default`, in whatever process,
    /// one answers a request.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn reply(
        &self,
        topic: &Topic,
        handler: impl Handler,
    ) -> Result<Subscription, SubscribeError> {
        self.register(Registration::service(topic, handler)).await
    }

    /// Gets signals of this topic, or of all that match the pattern, until the subscription is dropped.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn slot(
        &self,
        topic: &SlotTopic,
        handler: impl Handler,
    ) -> Result<Subscription, SubscribeError> {
        self.register(Registration::slot(topic, handler)).await
    }

    /// The same with a group and a time.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn register(
        &self,
        registration: Registration,
    ) -> Result<Subscription, SubscribeError> {
        self.engine.subscribe(registration).await
    }

    /// Gets the error reports of all peers, until the subscriptions are dropped: those of Go and Java, and those of Ruby.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn errors<F, Fut>(&self, handler: F) -> Result<[Subscription; 2], SubscribeError>
    where
        F: Fn(ErrorReport) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let handler = Arc::new(Reports(handler));
        let subscribe = async |channel: &str| {
            let topic = SlotTopic::new(channel)?;
            self.slot(&topic, Shared(handler.clone())).await
        };
        Ok([subscribe(ERRORS).await?, subscribe(ERROR).await?])
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// See [`RequestError`]. A reply with any code is not an error.
    pub async fn request(&self, topic: &Topic, data: &Data) -> Result<Message, RequestError> {
        self.engine.request(topic, data, self.timeout).await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// See [`SignalError`].
    pub async fn signal(&self, topic: &Topic, data: &Data) -> Result<Sent, SignalError> {
        self.engine.signal(Signal::new(topic, data)).await
    }

    /// Evaluates a composition within the time of a request. Lambdas need a node, so here they fail with 400.
    pub async fn compose(&self, composition: &Composition, input: Data) -> Response {
        composition.evaluate(self, input, self.timeout).await
    }
}

#[async_trait]
impl Caller for Gilmour {
    async fn request(&self, topic: &Topic, data: &Data, timeout: Duration) -> Message {
        let reply = self.engine.request(topic, data, timeout).await;
        reply.unwrap_or_else(RequestError::into_message)
    }

    async fn lambda(&self, path: &str, _: &Data, _: Duration) -> Message {
        Message::failure(400, &format!("the lambda `{path}` needs a node that has it"))
    }
}

struct Reports<F>(F);

struct Shared<H>(Arc<H>);

#[async_trait]
impl<F, Fut> Handler for Shared<Reports<F>>
where
    F: Fn(ErrorReport) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    async fn handle(&self, call: Call) -> Message {
        if let Ok(report) = ErrorReport::read(call.data.json().as_bytes()) {
            (self.0.0)(report).await;
        }
        Message::ok(Data::null())
    }
}
