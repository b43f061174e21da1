//! One registered node: what it serves, its state, and its subscriptions.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use poa_core::AgentId;
use poa_gilmour::engine::SubscribeError;
use poa_gilmour::{Engine, InvalidTopic, Kind, Registration, SlotTopic, Subscription, Topic};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::Refusal;
use crate::caller::{Caller, NodeHandler};
use crate::definition::{Definition, Entry, Rules};
use crate::traffic::{Topics, Traffic};

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It is healthy, and all its subscriptions stand.
    Ok,
    /// It is not healthy, or a subscription does not stand. It is asked again.
    Unavailable,
    /// Nothing listens there. Nothing is done with it until it is activated.
    Dirty,
}

impl Status {
    pub(crate) const ALL: [Self; 3] = [Self::Ok, Self::Unavailable, Self::Dirty];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unavailable => "unavailable",
            Self::Dirty => "dirty",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    /// Its agent on the bus.
    pub(crate) agent: AgentId,
    pub(crate) caller: Arc<Caller>,
    inside: Mutex<Inside>,
    /// Its subscriptions. The lock is held while they change, so that changes come one after the other.
    held: tokio::sync::Mutex<Vec<Held>>,
    topics: Arc<Topics>,
    /// That of the topics it serves, also while it is not subscribed.
    traffic: Mutex<HashMap<(Kind, String), Arc<Traffic>>>,
    /// Fires when it is deleted.
    pub(crate) gone: CancellationToken,
}

#[derive(Debug)]
struct Inside {
    definition: Definition,
    status: Status,
    /// Why it is not ok.
    problem: Option<String>,
    /// Refused connections in a row.
    refused: u32,
    /// It has sent a signal to the bus.
    is_agent: bool,
}

#[derive(Debug)]
struct Held {
    kind: Kind,
    entry: Entry,
    subscription: Subscription,
}

/// How much of an id people are shown.
const SHOWN_OF_ID: usize = 8;

impl Node {
    /// A node that is not subscribed yet.
    pub(crate) fn new(
        id: String,
        definition: Definition,
        caller: Caller,
        topics: Arc<Topics>,
    ) -> Arc<Self> {
        let short = id.get(..SHOWN_OF_ID).unwrap_or(&id);
        let name = definition.name.clone().unwrap_or_else(|| format!("node-{short}"));
        // Names are checked when they are registered.
        let agent = AgentId::new(name).or_else(|_| AgentId::new("node"));
        let agent = agent.unwrap_or_else(|_| unreachable!("`node` is an agent id"));
        let inside = Inside {
            definition,
            status: Status::Unavailable,
            problem: None,
            refused: 0,
            is_agent: false,
        };
        Arc::new(Self {
            id,
            agent,
            caller: Arc::new(caller),
            inside: Mutex::new(inside),
            held: tokio::sync::Mutex::default(),
            topics,
            traffic: Mutex::default(),
            gone: CancellationToken::new(),
        })
    }

    /// The part of its id that may be shown: the whole is a credential.
    pub(crate) fn short_id(&self) -> &str {
        self.id.get(..SHOWN_OF_ID).unwrap_or(&self.id)
    }

    pub(crate) fn status(&self) -> Status {
        self.inside.lock().status
    }

    pub(crate) fn definition(&self) -> Definition {
        self.inside.lock().definition.clone()
    }

    pub(crate) fn health_check(&self) -> String {
        self.inside.lock().definition.health_check.clone()
    }

    /// Counts a refused connection; how many there were in a row.
    pub(crate) fn refused(&self) -> u32 {
        let mut inside = self.inside.lock();
        inside.refused = inside.refused.saturating_add(1);
        inside.refused
    }

    /// Something answered.
    pub(crate) fn answered(&self) {
        self.inside.lock().refused = 0;
    }

    /// It sends signals to the bus.
    pub(crate) fn mark_agent(&self) {
        self.inside.lock().is_agent = true;
    }

    pub(crate) fn is_agent(&self) -> bool {
        self.inside.lock().is_agent
    }

    pub(crate) fn note(&self, problem: &str) {
        self.inside.lock().problem = Some(problem.to_owned());
    }

    fn enter(&self, status: Status, problem: Option<&str>) {
        let mut inside = self.inside.lock();
        if inside.status != status {
            let why = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
            tracing::info!(node = self.short_id(), agent = %self.agent, "node is {status}{why}");
        }
        inside.status = status;
        inside.problem = problem.map(str::to_owned);
    }

    /// Subscribes everything that is not; the node is ok then. When one cannot be, none of the new ones is kept.
    pub(crate) async fn open(&self, engine: &dyn Engine) -> Result<(), SubscribeError> {
        let mut held = self.held.lock().await;
        let definition = self.definition();
        let mut new = Vec::new();
        for kind in [Kind::Request, Kind::Slot] {
            for entry in definition.entries(kind) {
                if !held.iter().any(|held| held.kind == kind && held.entry == *entry) {
                    new.push(self.subscribe(engine, kind, entry).await?);
                }
            }
        }
        held.append(&mut new);
        self.answered();
        self.enter(Status::Ok, None);
        Ok(())
    }

    /// Ends all subscriptions. Calls that run are not disturbed.
    pub(crate) async fn close(&self, status: Status, problem: Option<&str>) {
        let mut held = self.held.lock().await;
        self.enter(status, problem);
        let ending = held.drain(..).map(|held| held.subscription.end());
        join_all(ending.collect::<Vec<_>>()).await;
    }

    /// Registers these as well, all or none; they are subscribed at once when the node is ok, else when it recovers.
    pub(crate) async fn add(
        &self,
        engine: &dyn Engine,
        kind: Kind,
        entries: &[Entry],
        rules: Rules,
    ) -> Result<Definition, Refusal> {
        self.check(engine, kind, entries)?;
        let mut held = self.held.lock().await;
        let mut definition = self.definition();
        definition.add(kind, entries, rules)?;
        if self.status() == Status::Ok {
            let mut new = Vec::new();
            for entry in entries {
                new.push(self.subscribe(engine, kind, entry).await?);
            }
            held.append(&mut new);
        }
        self.inside.lock().definition = definition.clone();
        Ok(definition)
    }

    /// Takes those of this topic out, or those of this topic and path.
    pub(crate) async fn remove(
        &self,
        kind: Kind,
        topic: &str,
        path: Option<&str>,
    ) -> Result<Definition, Refusal> {
        let matches =
            |entry: &Entry| entry.topic == topic && path.is_none_or(|path| entry.path == path);
        let mut held = self.held.lock().await;
        let definition = {
            let mut inside = self.inside.lock();
            let entries = inside.definition.entries_mut(kind);
            let before = entries.len();
            entries.retain(|entry| !matches(entry));
            if entries.len() == before {
                let what = crate::definition::plural(kind);
                return Err(Refusal::not_found(&format!(
                    "none of the {what} of the node is for `{topic}` at that path"
                )));
            }
            inside.definition.clone()
        };
        let (ended, kept) =
            held.drain(..).partition(|held| held.kind == kind && matches(&held.entry));
        *held = kept;
        let ended: Vec<Held> = ended;
        if !definition.entries(kind).iter().any(|entry| entry.topic == topic) {
            self.traffic.lock().remove(&(kind, topic.to_owned()));
        }
        join_all(ended.into_iter().map(|held| held.subscription.end())).await;
        Ok(definition)
    }

    async fn subscribe(
        &self,
        engine: &dyn Engine,
        kind: Kind,
        entry: &Entry,
    ) -> Result<Held, SubscribeError> {
        let traffic = self.traffic_of(kind, &entry.topic);
        let subscription = engine.subscribe(self.registration(kind, entry, traffic)?).await?;
        Ok(Held { kind, entry: entry.clone(), subscription })
    }

    fn traffic_of(&self, kind: Kind, topic: &str) -> Arc<Traffic> {
        let of = || self.topics.of(kind, topic);
        self.traffic.lock().entry((kind, topic.to_owned())).or_insert_with(of).clone()
    }

    fn registration(
        &self,
        kind: Kind,
        entry: &Entry,
        traffic: Arc<Traffic>,
    ) -> Result<Registration, InvalidTopic> {
        let handler =
            NodeHandler { caller: self.caller.clone(), path: entry.path.clone(), traffic };
        let registration = match kind {
            Kind::Request => Registration::service(&Topic::new(&entry.topic)?, handler),
            Kind::Slot => Registration::slot(&SlotTopic::new(&entry.topic)?, handler),
        };
        let timeout = Duration::from_secs(entry.timeout);
        Ok(registration.group(&entry.group).timeout(timeout))
    }

    /// Refuses what the engine could never carry.
    fn check(&self, engine: &dyn Engine, kind: Kind, entries: &[Entry]) -> Result<(), Refusal> {
        for entry in entries {
            let new = self.registration(kind, entry, Arc::default());
            let checked = new.and_then(|new| engine.check(&new));
            checked.map_err(|why| Refusal::bad(&format!("topic `{}`: {why}", entry.topic)))?;
        }
        Ok(())
    }

    /// The same for all that the node wants.
    pub(crate) fn check_all(&self, engine: &dyn Engine) -> Result<(), Refusal> {
        let definition = self.definition();
        self.check(engine, Kind::Request, &definition.services)?;
        self.check(engine, Kind::Slot, &definition.slots)
    }

    /// The details, for who knows the id. `waiting` are topics whose subscriptions do not stand.
    pub(crate) fn details(&self, engine_is_up: bool) -> Value {
        let inside = self.inside.lock();
        let mut shown = inside.definition.shown(&self.id, inside.status.name());
        if let Some(problem) = &inside.problem {
            shown["problem"] = json!(problem);
        }
        if !engine_is_up || inside.status != Status::Ok {
            shown["waiting"] = json!(topics(&inside.definition));
        }
        shown
    }

    /// Whether the name of a topic that it serves contains this.
    pub(crate) fn serves(&self, contains: &str) -> bool {
        let inside = self.inside.lock();
        topics(&inside.definition).iter().any(|topic| topic.contains(contains))
    }

    /// The entry in a list.
    pub(crate) fn summary(&self, engine_is_up: bool) -> Value {
        let inside = self.inside.lock();
        let definition = &inside.definition;
        let mut shown = json!({
            "id": format!("{}…", self.short_id()),
            "agent": self.agent.as_str(),
            "status": inside.status.name(),
            "target": definition.target.authority(),
            "services": definition.services.iter().map(|entry| &entry.topic).collect::<Vec<_>>(),
            "slots": definition.slots.iter().map(|entry| &entry.topic).collect::<Vec<_>>(),
            "calls": self.caller.made.load(Relaxed),
            "failed": self.caller.failed.load(Relaxed),
        });
        if let Some(problem) = &inside.problem {
            shown["problem"] = json!(problem);
        }
        if !engine_is_up || inside.status != Status::Ok {
            shown["waiting"] = json!(topics(definition));
        }
        shown
    }
}

fn topics(definition: &Definition) -> Vec<&str> {
    let all = definition.services.iter().chain(&definition.slots);
    all.map(|entry| entry.topic.as_str()).collect()
}

impl From<SubscribeError> for Refusal {
    fn from(error: SubscribeError) -> Self {
        let text = error.to_string();
        match error {
            SubscribeError::Unreachable(_) => Self::unavailable(&text),
            SubscribeError::Topic(_) => Self::bad(&text),
            _ => Self::internal(&text),
        }
    }
}

impl From<InvalidTopic> for Refusal {
    fn from(error: InvalidTopic) -> Self {
        Self::bad(&error.to_string())
    }
}
