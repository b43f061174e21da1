//! The receiver: messages become signals, or requests that confirm them.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use poa_core::config::{Duration, Problem, Secret};
use poa_core::{
    AgentId, BoxError, BuildContext, BuildError, DeliveryError, Message, MessageId, Plugin,
    Receiver, async_trait,
};
use poa_gilmour::engine::{Signal, SignalError};
use poa_gilmour::{Data, Engine, Options, RequestError, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::{EngineKind, EngineSettings, Shared};

/// The section of a receiver, besides the keys common to all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReceiverConfig {
    /// The topic of each message. `{data_type}` and `{agent_id}` stand for its own.
    pub topic: String,
    /// `request`: a reply from 200 to 299 confirms the message. `signal`: it is confirmed once it is sent.
    #[serde(default)]
    pub mode: Mode,
    /// The carrier: `memory`, shared with the gateway of this server, `redis`, or `nats`.
    #[serde(default)]
    pub engine: EngineKind,
    /// The URL of the Redis server, such as `redis://127.0.0.1:6379`; or the URLs of the NATS servers, such as `nats://127.0.0.1:4222`,
    /// separated by commas.
    #[serde(default)]
    pub url: Option<Secret>,
    /// How long a reply may take. A longer time than that of a call of this receiver, which `timeout` sets, has no effect.
    #[serde(default = "reply_timeout")]
    pub reply_timeout: Duration,
    /// Of how many agents messages are under way at once; those of one agent go one after the other.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1))]
    pub concurrency: usize,
}

fn reply_timeout() -> Duration {
    Duration::from_secs(10)
}

fn concurrency() -> usize {
    16
}

/// How messages are given on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A request for each message.
    #[default]
    Request,
    /// A signal for each message.
    Signal,
}

impl ReceiverConfig {
    /// Messages become requests of this topic.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            mode: Mode::default(),
            engine: EngineKind::default(),
            url: None,
            reply_timeout: reply_timeout(),
            concurrency: concurrency(),
        }
    }

    /// The same with signals.
    #[must_use]
    pub fn signals(self) -> Self {
        Self { mode: Mode::Signal, ..self }
    }

    fn settings(&self) -> EngineSettings {
        EngineSettings { kind: self.engine, url: self.url.clone(), options: Options::default() }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.settings().problems();
        let example = self.topic.replace("{data_type}", "t").replace("{agent_id}", "a");
        if let Err(why) = Topic::new(&example) {
            problems.push(Problem::new("topic", why.to_string()));
        } else if example.contains(['{', '}']) {
            let text = "has braces that are neither `{data_type}` nor `{agent_id}`";
            problems.push(Problem::new("topic", text));
        }
        if self.concurrency == 0 {
            problems.push(Problem::new("concurrency", "must be at least 1"));
        }
        if self.reply_timeout.get().is_zero() {
            problems.push(Problem::new("reply_timeout", "must be longer than 0"));
        }
        problems
    }
}

/// Gives messages to whatever serves a topic: a program in any language, with retries, batches and dead letters.
///
/// All methods are cancel safe. Messages of one agent go one after the other, in their order; what was confirmed of a batch is not sent again
/// when the rest of it is.
#[derive(Debug)]
pub struct GilmourReceiver {
    config: ReceiverConfig,
    engine: Shared,
    timeout: std::time::Duration,
    /// The outcomes of the current batch.
    settled: HashMap<MessageId, Outcome>,
}

/// The outcome of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Confirmed,
    /// Never, for this reason.
    Rejected(String),
    /// Not now, for this reason.
    Delayed(String),
}

#[async_trait]
impl Plugin for GilmourReceiver {
    type Config = ReceiverConfig;

    fn validate(config: &ReceiverConfig) -> Vec<Problem> {
        config.problems()
    }

    async fn build(config: ReceiverConfig, cx: &BuildContext) -> Result<Self, BuildError> {
        // An embedder's configuration has not been through `validate`.
        if let Some(problem) = config.problems().first() {
            return Err(BuildError::failed(problem.to_string()));
        }
        let engine = config.settings().shared(cx)?;
        let own = config.reply_timeout.get();
        // Less than a call may take, so that what was confirmed is not forgotten with the whole batch.
        let timeout = cx.call_timeout().map_or(own, |call| own.min(call / 2));
        Ok(Self { config, engine, timeout, settled: HashMap::new() })
    }
}

#[async_trait]
impl Receiver for GilmourReceiver {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.settled.retain(|id, _| batch.iter().any(|message| message.id() == *id));
        let engine = self.engine.get();
        let delivery = Delivery { config: &self.config, timeout: self.timeout, engine: &*engine };
        let new = delivery.of_all(by_agent(batch), &self.settled).await;
        self.settled.extend(new);
        self.verdict(batch)
    }
}

impl GilmourReceiver {
    fn verdict(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let mut delayed = None;
        for (index, message) in batch.iter().enumerate() {
            match self.settled.get(&message.id()) {
                Some(Outcome::Confirmed) => {}
                // One at a time, so that each dead letter has its own reason. The others come again, and are known then.
                Some(Outcome::Rejected(why)) => {
                    return Err(DeliveryError::permanent_for(
                        vec![index],
                        BoxError::from(why.clone()),
                    ));
                }
                Some(Outcome::Delayed(why)) => {
                    delayed.get_or_insert_with(|| why.clone());
                }
                None => {
                    delayed.get_or_insert_with(|| {
                        "an earlier message of the agent is not delivered".to_owned()
                    });
                }
            }
        }
        match delayed {
            None => {
                self.settled.clear();
                Ok(())
            }
            Some(why) => {
                self.settled.retain(|_, outcome| !matches!(outcome, Outcome::Delayed(_)));
                Err(DeliveryError::transient(BoxError::from(why)))
            }
        }
    }
}

/// The messages of each agent, in their order.
fn by_agent(batch: &[Message]) -> Vec<Vec<&Message>> {
    let mut places: HashMap<&AgentId, usize> = HashMap::new();
    let mut agents: Vec<Vec<&Message>> = Vec::new();
    for message in batch {
        let place = *places.entry(message.agent_id()).or_insert_with(|| {
            agents.push(Vec::new());
            agents.len() - 1
        });
        agents[place].push(message);
    }
    agents
}

/// The data that a program gets.
#[derive(Serialize)]
struct Given<'a> {
    id: String,
    agent_id: &'a str,
    data_type: &'a str,
    received: String,
    data: &'a RawValue,
}

struct Delivery<'a> {
    config: &'a ReceiverConfig,
    timeout: std::time::Duration,
    engine: &'a dyn Engine,
}

type Outcomes = Vec<(MessageId, Outcome)>;

impl Delivery<'_> {
    /// So many agents at once.
    async fn of_all(
        &self,
        agents: Vec<Vec<&Message>>,
        settled: &HashMap<MessageId, Outcome>,
    ) -> Outcomes {
        let mut deliveries: Vec<BoxFuture<'_, Outcomes>> = Vec::with_capacity(agents.len());
        for messages in agents {
            deliveries.push(Box::pin(self.of_agent(messages, settled)));
        }
        let mut delivered = stream::iter(deliveries).buffer_unordered(self.config.concurrency);
        let mut outcomes = Vec::new();
        while let Some(of_agent) = delivered.next().await {
            outcomes.extend(of_agent);
        }
        outcomes
    }

    /// Delivers until one has to wait. Those that are settled already are skipped.
    async fn of_agent(
        &self,
        messages: Vec<&Message>,
        settled: &HashMap<MessageId, Outcome>,
    ) -> Outcomes {
        let mut outcomes = Vec::new();
        for message in messages.iter().filter(|message| !settled.contains_key(&message.id())) {
            let outcome = self.deliver(message).await;
            let wait = matches!(outcome, Outcome::Delayed(_));
            outcomes.push((message.id(), outcome));
            if wait {
                break;
            }
        }
        outcomes
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let (topic, data) = match self.prepare(message) {
            Ok(ready) => ready,
            Err(why) => return Outcome::Rejected(why.to_string()),
        };
        match self.config.mode {
            Mode::Signal => match self.engine.signal(Signal::new(&topic, &data)).await {
                Ok(_) => Outcome::Confirmed,
                Err(error @ (SignalError::Topic(_) | SignalError::TooLarge(_))) => {
                    Outcome::Rejected(error.to_string())
                }
                Err(error) => Outcome::Delayed(error.to_string()),
            },
            Mode::Request => match self.engine.request(&topic, &data, self.timeout).await {
                Ok(reply) => verdict(&topic, &reply),
                Err(error @ (RequestError::Topic(_) | RequestError::TooLarge(_))) => {
                    Outcome::Rejected(error.to_string())
                }
                Err(error) => Outcome::Delayed(error.to_string()),
            },
        }
    }

    fn prepare(&self, message: &Message) -> Result<(Topic, Data), BoxError> {
        let topic = self.config.topic.replace("{data_type}", message.data_type().name());
        let topic = Topic::new(&topic.replace("{agent_id}", message.agent_id().as_str()))?;
        let json = message.payload().to_json()?;
        let given = Given {
            id: message.id().to_string(),
            agent_id: message.agent_id().as_str(),
            data_type: message.data_type().name(),
            received: message.received_at().to_string(),
            data: serde_json::from_str(&json)?,
        };
        Ok((topic, Data::new(&given)?))
    }
}

/// The outcome that a reply means for its message.
fn verdict(topic: &Topic, reply: &poa_gilmour::Message) -> Outcome {
    let code = reply.shown_code();
    let text = || {
        let data: String = reply.data.json().chars().take(1000).collect();
        format!("`{topic}` answered {code}: {data}")
    };
    match code {
        200..=299 => Outcome::Confirmed,
        404 | 408 | 425 | 429 | 499 => Outcome::Delayed(text()),
        400..=498 => Outcome::Rejected(text()),
        _ => Outcome::Delayed(text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide() {
        let topic = Topic::new("t").unwrap();
        let of = |code| verdict(&topic, &poa_gilmour::Message::failure(code, "why"));
        for code in [200, 201, 299, 0] {
            assert_eq!(of(code), Outcome::Confirmed, "{code}");
        }
        for code in [100, 302, 404, 408, 425, 429, 499, 500, 503, 504, 999, -1] {
            assert!(matches!(of(code), Outcome::Delayed(_)), "{code}");
        }
        for code in [400, 401, 409, 413, 422, 498] {
            assert_eq!(of(code), Outcome::Rejected(format!("`t` answered {code}: \"why\"")));
        }
    }

    #[test]
    fn a_topic_has_two_places() {
        let problems = |topic: &str| ReceiverConfig::new(topic).problems().len();
        assert_eq!(problems("poa.{data_type}.{agent_id}"), 0);
        for wrong in ["", "a.*", "poa.{data_typ}"] {
            assert_eq!(problems(wrong), 1, "{wrong}");
        }
    }
}
