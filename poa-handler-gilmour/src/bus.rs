//! Signals that become messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use poa_core::telemetry::Counter;
use poa_core::{
    AgentId, BuildError, DataType, DataTypes, Draft, HandlerContext, Payload, async_trait,
};
use poa_gilmour::{
    Call, Data, FAILED, Handler, Message, Object, Registration, Shape, SlotTopic, Topic,
    UNAVAILABLE,
};
use serde_json::Value;

use crate::config::{AgentSource, SignalRule};
use crate::gateway::Gateway;
use crate::node::Node;

/// All rules, ready for use.
#[derive(Debug)]
pub(crate) struct Bus {
    rules: Vec<Rule>,
    taken: Counter,
    lost: Counter,
}

#[derive(Debug)]
struct Rule {
    topic: SlotTopic,
    group: Arc<str>,
    data_type: DataType,
    agent: AgentSource,
}

/// A subscription that the rules need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BusSlot {
    topic: SlotTopic,
    group: Arc<str>,
}

/// Why a signal did not become a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error(transparent)]
    Refused(#[from] poa_core::Refused),
    #[error(transparent)]
    NotSafe(#[from] poa_core::ReceiptError),
    #[error("the data has no agent at `{0}`")]
    NoAgent(String),
    #[error("the data cannot be a message: {0}")]
    Data(#[from] serde_json::Error),
}

impl NotTaken {
    /// Whether the same signal may be taken later.
    pub(crate) fn is_for_now(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotSafe(_))
    }
}

/// Refuses rules whose data types the host does not accept. Outside of a host there are none to compare with.
pub(crate) fn check(rules: &[SignalRule], types: &DataTypes) -> Result<(), BuildError> {
    if types.iter().next().is_none() {
        return Ok(());
    }
    let checked = rules.iter().try_for_each(|rule| Rule::new(rule, types).map(drop));
    checked.map_err(BuildError::failed)
}

impl Bus {
    pub(crate) fn new(rules: &[SignalRule], cx: &HandlerContext) -> Result<Self, String> {
        let types = cx.data_types();
        let count = |name, help| cx.telemetry().counter(name, help, &[("handler", cx.name())]);
        Ok(Self {
            rules: rules.iter().map(|rule| Rule::new(rule, types)).collect::<Result<_, _>>()?,
            taken: count("gilmour_bus_signals", "Signals that became messages"),
            lost: count(
                "gilmour_bus_signals_lost",
                "Signals over a broker that could not become messages",
            ),
        })
    }

    /// How many signals became messages, and how many could not.
    pub(crate) fn counted(&self) -> Value {
        serde_json::json!({"taken": self.taken.get(), "lost": self.lost.get()})
    }

    /// The subscriptions that the rules need: one for each topic and group.
    pub(crate) fn slots(&self) -> Vec<BusSlot> {
        let slot = |rule: &Rule| BusSlot { topic: rule.topic.clone(), group: rule.group.clone() };
        let mut slots: Vec<_> = self.rules.iter().map(slot).collect();
        slots.sort();
        slots.dedup();
        slots
    }

    /// The groups whose rules this signal satisfies.
    pub(crate) fn groups(&self, topic: &Topic) -> Vec<Arc<str>> {
        let of = self.rules.iter().filter(|rule| rule.topic.matches(topic));
        let groups: BTreeMap<_, _> = of.map(|rule| (rule.group.clone(), ())).collect();
        groups.into_keys().collect()
    }

    /// Makes messages of a signal, by all rules of these groups; returns when they are as safe as the operator's `ack` promises.
    ///
    /// All rules of a group, since of overlapping subscriptions of one group only one gets the signal.
    pub(crate) async fn take(
        &self,
        cx: &HandlerContext,
        groups: &[Arc<str>],
        topic: &Topic,
        data: &Data,
        node: Option<&Node>,
    ) -> Result<(), NotTaken> {
        let of = |rule: &&Rule| groups.contains(&rule.group) && rule.topic.matches(topic);
        let drafts: Result<Vec<_>, _> =
            self.rules.iter().filter(of).map(|rule| rule.draft(cx, data, node)).collect();
        let drafts = drafts?;
        if drafts.is_empty() {
            return Ok(());
        }
        let agents: Vec<AgentId> = drafts.iter().map(|draft| draft.agent_id().clone()).collect();
        let receipt = cx.send_all_to_receivers(drafts).map_err(poa_core::Refused::from)?;
        for agent in &agents {
            cx.activity().data(agent);
        }
        receipt.await?;
        self.taken.inc_by(agents.len() as u64);
        Ok(())
    }
}

impl Rule {
    fn new(rule: &SignalRule, types: &DataTypes) -> Result<Self, String> {
        let topic = SlotTopic::new(&rule.topic).map_err(|why| why.to_string())?;
        let data_type = types.get(&rule.data_type).cloned().ok_or_else(|| {
            format!(
                "signals of `{}` are to become messages of type `{}`, which `metrics` does not list; add it there",
                rule.topic, rule.data_type
            )
        })?;
        Ok(Self { topic, group: rule.group.as_str().into(), data_type, agent: rule.agent.clone() })
    }

    fn draft(
        &self,
        cx: &HandlerContext,
        data: &Data,
        node: Option<&Node>,
    ) -> Result<Draft, NotTaken> {
        let agent = match (&self.agent, node) {
            (AgentSource::Field(pointer), _) => agent_at(data, pointer)?,
            (AgentSource::Node, Some(node)) => {
                node.mark_agent();
                node.agent.clone()
            }
            (AgentSource::Node, None) => gateway_agent(cx),
        };
        Ok(Draft::new(agent, self.data_type.clone(), payload(data)?))
    }
}

/// The agent of signals that no node of this gateway sent.
fn gateway_agent(cx: &HandlerContext) -> AgentId {
    let agent = AgentId::new(cx.name()).or_else(|_| AgentId::new("gilmour"));
    agent.unwrap_or_else(|_| unreachable!("`gilmour` is an agent id"))
}

fn agent_at(data: &Data, pointer: &str) -> Result<AgentId, NotTaken> {
    let none = || NotTaken::NoAgent(pointer.to_owned());
    let value: Value = data.read().map_err(|_| none())?;
    let text = match value.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(none()),
    };
    AgentId::new(text).map_err(|_| none())
}

/// An object as it is; anything else within one.
fn payload(data: &Data) -> Result<Payload, NotTaken> {
    let text = match data.shape() {
        Shape::Object => data.json().to_owned(),
        _ => {
            let mut object = Object::default();
            let value = serde_json::value::to_raw_value(data)?;
            object.insert("value".to_owned(), value);
            serde_json::to_string(&object)?
        }
    };
    Ok(Payload::new(poa_core::Format::Json, text.into()))
}

impl BusSlot {
    pub(crate) fn registration(&self, gateway: &Arc<Gateway>) -> Registration {
        let taker = Taker { gateway: Arc::downgrade(gateway), group: self.group.clone() };
        Registration::slot(&self.topic, taker).group(&self.group).strict()
    }
}

/// Takes signals that come over the engine: at most once, and counted when they are lost.
struct Taker {
    gateway: Weak<Gateway>,
    group: Arc<str>,
}

#[async_trait]
impl Handler for Taker {
    async fn handle(&self, call: Call) -> Message {
        let Some(gateway) = self.gateway.upgrade() else {
            return Message::failure(UNAVAILABLE, "the gateway is stopping");
        };
        let Ok(topic) = Topic::new(&call.topic) else {
            return Message::failure(FAILED, "a signal came without a topic");
        };
        let groups = [self.group.clone()];
        match gateway.bus.take(&gateway.cx, &groups, &topic, &call.data, None).await {
            Ok(()) => Message::ok(Data::null()),
            Err(error) => {
                gateway.bus.lost.inc();
                tracing::warn!(topic = topic.as_str(), "lost a signal: {error}");
                Message::failure(UNAVAILABLE, &error.to_string())
            }
        }
    }
}
