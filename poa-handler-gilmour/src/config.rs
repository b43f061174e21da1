use std::net::SocketAddr;
use std::path::PathBuf;

use poa_core::config::{Duration, Problem, Secret, Size};
use poa_gilmour::{ErrorPolicy, Options, SlotTopic};
use poa_http::Tls;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{EngineKind, EngineSettings};

/// The longest time a call may be given, in seconds.
pub(crate) const MAX_TIMEOUT: u64 = 86_400;

/// The group of the slots that bring signals to the bus.
const BUS_GROUP: &str = "poa";

/// The section of a Gilmour gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The certificate for HTTPS; plain HTTP when absent.
    pub tls: Option<Tls>,
    /// The limits on clients. `request_timeout` has no effect: calls have their own times.
    pub limits: poa_http::Limits,
    /// The token for the page, the lists, the registration of nodes, and calls without a node: `Authorization: Bearer …`. Needed to listen on an address other than the loopback.
    pub token: Option<Secret>,
    /// The carrier of requests and signals: `memory` within this server, `redis`, or `nats`.
    pub engine: EngineKind,
    /// The URL of the Redis server, such as `redis://127.0.0.1:6379`; or the URLs of the NATS servers, such as `nats://127.0.0.1:4222`,
    /// separated by commas.
    pub url: Option<Secret>,
    /// How often each node is asked whether it is healthy.
    pub health_interval: Duration,
    /// How long a node may take to say that it is healthy.
    pub health_timeout: Duration,
    /// After how many refused connections in a row a node is dirty: nothing is done with it until it registers or is activated again.
    #[schemars(range(min = 1))]
    pub dirty_after: u32,
    /// Lets nodes be on other machines. Without it, only those on the loopback and on unix sockets are called.
    pub allow_remote_nodes: bool,
    /// The time of a request that names none.
    pub timeout: Duration,
    /// The code of a handler that did not answer in time. Peers in Go send 499, those in Ruby and Java 504.
    #[schemars(range(min = 400, max = 599))]
    pub timeout_code: u16,
    /// Passes on codes such as 201 that a node answers with, instead of 200. Compositions continue only after 200.
    pub keep_success_codes: bool,
    /// Whether of the slots of one group, in whatever process, only one gets a signal. Peers in Go ignore these groups.
    pub slot_groups: SlotGroups,
    /// The answer of `/composition/:id`: the documented form, or the data alone as the first proxy did. `?format=` asks for either.
    pub composition_answer: CompositionAnswer,
    /// The policy for calls that failed.
    pub errors: Errors,
    /// Signals that become messages on the bus.
    pub signals: Vec<SignalRule>,
    /// The file of the registered nodes, relative to `data_dir`; made if missing, readable by its owner only.
    pub path: PathBuf,
    /// How much nodes may take.
    pub nodes: NodeLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            tls: None,
            limits: poa_http::Limits::default(),
            token: None,
            engine: EngineKind::Memory,
            url: None,
            health_interval: Duration::from_secs(10),
            health_timeout: Duration::from_secs(5),
            dirty_after: 3,
            allow_remote_nodes: false,
            timeout: Duration::from_secs(600),
            timeout_code: 499,
            keep_success_codes: false,
            slot_groups: SlotGroups::Enforce,
            composition_answer: CompositionAnswer::Documented,
            errors: Errors::Ignore,
            signals: Vec::new(),
            path: "gilmour.db".into(),
            nodes: NodeLimits::default(),
        }
    }
}

/// How much nodes may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NodeLimits {
    /// The most nodes.
    pub max: usize,
    /// The most services and slots of one node.
    pub handlers: usize,
    /// The most calls of one node at once; 503 beyond it.
    pub calls: usize,
    /// The most calls of all nodes at once; 503 beyond it.
    pub all_calls: usize,
    /// The largest answer of a node; 502 beyond it.
    pub answer: Size,
    /// How deep operators of a composition may stand within each other.
    pub composition_depth: usize,
    /// How many steps a composition may have.
    pub composition_steps: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            max: 10_000,
            handlers: 1000,
            calls: 1000,
            all_calls: 10_000,
            answer: Size::bytes(8 << 20),
            composition_depth: 32,
            composition_steps: 256,
        }
    }
}

/// The values of `slot_groups`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlotGroups {
    /// One of each group.
    Enforce,
    /// All of them.
    Ignore,
}

/// The values of `composition_answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompositionAnswer {
    /// `messages`, `code`, `length`.
    Documented,
    /// The data of the only message, or an array.
    Data,
}

/// The values of `errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Errors {
    /// Nothing.
    Ignore,
    /// A report on the channels of errors.
    Publish,
    /// A report in the list of errors, which keeps the newest 10,000.
    Queue,
}

/// Signals that become messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SignalRule {
    /// The topic, or a pattern with `*`.
    pub topic: String,
    /// The data type of the messages.
    pub data_type: String,
    /// The agent of the messages: `"node"`, the node that signals, or `{ field = "/id" }`, a JSON pointer into the data.
    #[serde(default)]
    pub agent: AgentSource,
    /// The exclusion group: of all gateways in it, one takes a signal.
    #[serde(default = "bus_group")]
    pub group: String,
}

fn bus_group() -> String {
    BUS_GROUP.to_owned()
}

impl SignalRule {
    /// Signals of this topic become messages of this type.
    #[must_use]
    pub fn new(topic: &str, data_type: &str) -> Self {
        let (topic, data_type) = (topic.to_owned(), data_type.to_owned());
        Self { topic, data_type, agent: AgentSource::default(), group: bus_group() }
    }
}

/// The source of a message's agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentSource {
    /// The node that signals, by its name. A signal that came over a broker is of the gateway itself.
    #[default]
    Node,
    /// A JSON pointer into the data, to a text or a number.
    Field(String),
}

impl Config {
    /// The defaults, on this address.
    #[must_use]
    pub fn listen(addr: impl Into<SocketAddr>) -> Self {
        Self { listen: addr.into(), ..Self::default() }
    }

    /// The limits of the listener: answers may take as long as the longest call.
    pub(crate) fn listener_limits(&self) -> poa_http::Limits {
        let mut limits = self.limits;
        limits.request_timeout = Duration::from_secs(MAX_TIMEOUT + 60);
        limits
    }

    pub(crate) fn engine_settings(&self) -> EngineSettings {
        let errors = match self.errors {
            Errors::Ignore => ErrorPolicy::Ignore,
            Errors::Publish => ErrorPolicy::Publish,
            Errors::Queue => ErrorPolicy::Queue,
        };
        let options = Options::default()
            .with_slot_groups(self.slot_groups == SlotGroups::Enforce)
            .with_errors(errors)
            .with_timeout_code(self.timeout_code.into())
            .with_max_calls(self.nodes.all_calls);
        EngineSettings { kind: self.engine, url: self.url.clone(), options }
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let limits = self.limits.validate().into_iter();
        let mut problems: Vec<_> = limits.map(|problem| problem.under("limits")).collect();
        problems.extend(self.engine_settings().problems());
        problems.extend(self.access_problems());
        problems.extend(self.time_problems());
        problems.extend(self.nodes.problems().into_iter().map(|problem| problem.under("nodes")));
        for (index, rule) in self.signals.iter().enumerate() {
            let of_rule = rule.problems(&self.engine_settings()).into_iter();
            problems.extend(of_rule.map(|(key, text)| {
                Problem::new(key, text).under(&index.to_string()).under("signals")
            }));
        }
        problems
    }

    fn access_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.token.is_none() && !self.listen.ip().is_loopback() {
            let text = format!(
                "is needed to listen on {}, where anyone could register a node; set it, or listen on 127.0.0.1",
                self.listen
            );
            problems.push(Problem::new("token", text));
        }
        if self.token.as_ref().is_some_and(|token| token.expose().len() < 8) {
            problems.push(Problem::new("token", "must have at least 8 characters"));
        }
        problems
    }

    fn time_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |wrong: bool, key: &str, text: String| {
            if wrong {
                problems.push(Problem::new(key, text));
            }
        };
        let times = [
            ("health_interval", self.health_interval),
            ("health_timeout", self.health_timeout),
            ("timeout", self.timeout),
        ];
        for (key, time) in times {
            let wrong = time.get().is_zero() || time.get().as_secs() > MAX_TIMEOUT;
            refuse(wrong, key, "must be longer than 0 and at most one day".to_owned());
        }
        refuse(self.dirty_after == 0, "dirty_after", "must be at least 1".to_owned());
        let code = !(400..600).contains(&self.timeout_code);
        refuse(code, "timeout_code", "must be from 400 to 599".to_owned());
        let nameless = self.path.file_name().is_none();
        refuse(nameless, "path", "names no file; write one such as \"gilmour.db\"".to_owned());
        problems
    }
}

impl NodeLimits {
    fn problems(&self) -> Vec<Problem> {
        [
            ("max", self.max),
            ("handlers", self.handlers),
            ("calls", self.calls),
            ("all_calls", self.all_calls),
            ("composition_depth", self.composition_depth),
            ("composition_steps", self.composition_steps),
        ]
        .into_iter()
        .filter(|(_, limit)| *limit == 0)
        .map(|(key, _)| Problem::new(key, "must be at least 1"))
        .collect()
    }
}

impl SignalRule {
    fn problems(&self, engine: &EngineSettings) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        match SlotTopic::new(&self.topic) {
            Ok(topic) if topic.is_foreign() => {
                problems.push(("topic", "names a channel that is not one of signals".to_owned()));
            }
            Ok(topic) => {
                let refusal = engine.refusal_of_slot(&topic, &self.group);
                problems.extend(refusal.map(|why| ("topic", why.to_string())));
            }
            Err(why) => problems.push(("topic", why.to_string())),
        }
        if self.group.is_empty() {
            let text = "must not be empty, or every gateway would take every signal";
            problems.push(("group", text.to_owned()));
        }
        if let AgentSource::Field(pointer) = &self.agent
            && !pointer.starts_with('/')
        {
            let text = format!("`{pointer}` is not a JSON pointer; write one such as \"/id\"");
            problems.push(("agent", text));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        config.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_has_a_default() {
        assert_eq!(problems(""), Vec::<String>::new());
        assert_eq!(Config::default().listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn the_contract_of_the_design_is_read() {
        let text = r#"
            listen = "127.0.0.1:8080"
            engine = "memory"
            url = "redis://127.0.0.1:6379"
            health_interval = "10s"
            token = "long enough"
            signals = [
                { topic = "metrics.*", data_type = "system_metrics" },
                { topic = "x", data_type = "system_metrics", agent = "node" },
                { topic = "y", data_type = "system_metrics", agent = { field = "/id" }, group = "g" },
            ]
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.problems(), []);
        assert_eq!(config.signals[0].group, "poa");
        assert_eq!(config.signals[2].agent, AgentSource::Field("/id".to_owned()));
    }

    #[test]
    fn problems_name_the_key_and_the_cure() {
        let found = problems(
            "listen = \"0.0.0.0:1\"\nengine = \"redis\"\nhealth_interval = \"0s\"\ndirty_after = 0\ntimeout_code = 200\npath = \"\"\n\
             signals = [{ topic = \"\", data_type = \"x\", group = \"\", agent = { field = \"id\" } }]\nnodes = { max = 0 }",
        );
        let keys: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
        let expected = [
            "url",
            "token",
            "health_interval",
            "dirty_after",
            "timeout_code",
            "path",
            "nodes.max",
            "signals.0.topic",
            "signals.0.group",
            "signals.0.agent",
        ];
        assert_eq!(keys, expected, "{found:?}");
    }

    #[test]
    fn nats_has_its_own_rules() {
        let with = |rest: &str| problems(&format!("engine = \"nats\"\n{rest}"));
        assert!(with("")[0].starts_with("url: is needed"));
        assert!(with("url = \"http://:secret@h\"")[0].contains("`http://…@h` is not a URL"));
        assert_eq!(with("url = \"nats://a, nats://b:4223\""), Vec::<String>::new());
        let rule = "url = \"nats://a\"\nsignals = [{ topic = \"pin*\", data_type = \"x\" }]";
        assert!(with(rule)[0].starts_with("signals.0.topic: "), "{:?}", with(rule));
    }

    #[test]
    fn secrets_never_show() {
        let config: Config =
            toml::from_str("token = \"tokentoken\"\nurl = \"redis://:pass@h\"").unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("tokentoken") && !shown.contains("pass@"), "{shown}");
    }
}
