//! Straight over a broker.

use std::sync::Arc;
use std::time::Duration;

use poa_core::async_trait;
use poa_gilmour::engine::Registration;
use poa_gilmour::{
    Call, Data, Gilmour, Handler, InvalidTopic, Message, NatsEngine, Options, RedisEngine,
    RequestError, SlotTopic, Topic,
};

use crate::cli::{Listening, Way};
use crate::failure::Failure;

/// How long the broker may take to answer at first, and what runs at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The broker that the options name, connected; nothing when they name none.
pub(super) async fn connect(way: &Way) -> Result<Option<Gilmour>, Failure> {
    if let Some(url) = &way.redis {
        let engine = RedisEngine::new(url, Options::default());
        let engine = engine.map_err(|error| Failure::new("--redis", error))?;
        engine.connect(PATIENCE).await.map_err(Failure::because)?;
        return Ok(Some(Gilmour::new(engine)));
    }
    let Some(urls) = &way.nats else { return Ok(None) };
    let engine = NatsEngine::new(urls, Options::default());
    let engine = engine.map_err(|error| Failure::new("--nats", error))?;
    engine.connect(PATIENCE).await.map_err(Failure::because)?;
    Ok(Some(Gilmour::new(engine)))
}

fn named<T>(topic: &str, read: Result<T, InvalidTopic>) -> Result<T, Failure> {
    read.map_err(|error| Failure::new(format_args!("`{topic}`"), error))
}

pub(super) async fn request(
    gilmour: Gilmour,
    topic: &str,
    data: &Data,
    timeout: Duration,
) -> Result<Message, Failure> {
    let topic = named(topic, Topic::new(topic))?;
    let gilmour = gilmour.with_timeout(timeout);
    let reply = gilmour.request(&topic, data).await;
    gilmour.engine().close(PATIENCE).await;
    Ok(reply.unwrap_or_else(RequestError::into_message))
}

pub(super) async fn signal(
    gilmour: Gilmour,
    topic: &str,
    data: &Data,
) -> Result<Option<u64>, Failure> {
    let topic = named(topic, Topic::new(topic))?;
    let sent = gilmour.signal(&topic, data).await.map_err(Failure::because)?;
    // A broker that gives no count may not have got it yet.
    gilmour.engine().close(PATIENCE).await;
    Ok(sent.receivers)
}

pub(super) async fn listen(
    gilmour: Gilmour,
    options: &Listening,
    handler: Arc<dyn Handler>,
) -> Result<(), Failure> {
    let topic = options.topic.as_str();
    let registration = if options.service {
        Registration::service(&named(topic, Topic::new(topic))?, Listener(handler))
    } else {
        Registration::slot(&named(topic, SlotTopic::new(topic))?, Listener(handler))
    };
    let registration = registration.group(options.group.as_deref().unwrap_or_default());
    let subscription = gilmour.register(registration).await.map_err(Failure::because)?;
    super::announce(options);
    let ended = super::interrupted().await;
    subscription.end().await;
    gilmour.engine().close(PATIENCE).await;
    ended
}

struct Listener(Arc<dyn Handler>);

#[async_trait]
impl Handler for Listener {
    async fn handle(&self, call: Call) -> Message {
        self.0.handle(call).await
    }
}
