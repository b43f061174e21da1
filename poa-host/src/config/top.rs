//! The keys outside of plugin sections. The schemas of plugins come from the registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use poa_auth::AuthConfig;
use poa_core::config::{Duration, Problem, Secret, Size};
use poa_core::engine::{KeyWindow, Unrouted};
use poa_core::{Ack, Rate, Rates};
use poa_http::{Listen, ShareLimits, Tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of a poa server.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Top {
    /// The directory for everything the server writes; created if missing. Relative to the working directory of the server.
    #[serde(default = "data_dir")]
    pub(crate) data_dir: PathBuf,
    /// The data types that the server accepts. Each needs a receiver that subscribes to it.
    #[schemars(length(min = 1), example = ["system_metrics"])]
    pub(crate) metrics: Vec<String>,
    /// How long an agent that has pinged may be silent before it counts as inactive.
    #[serde(default = "inactive_after")]
    pub(crate) inactive_after: Duration,
    /// The most memory that the bodies of all requests may take together.
    #[serde(default = "memory_limit")]
    pub(crate) memory_limit: Size,
    /// How long each plugin may take to be ready when the server starts.
    #[serde(default = "start_timeout")]
    pub(crate) start_timeout: Duration,
    /// How long the server may take to stop.
    #[serde(default)]
    pub(crate) stop: Stop,
    /// The listener for operators: health, metrics, status.
    #[serde(default)]
    pub(crate) admin: Admin,
    /// Limits on what one user or one address may take from others.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The bus between handlers and receivers.
    #[serde(default)]
    pub(crate) bus: Bus,
    /// The store for dead letters, messages that a receiver can never accept.
    #[serde(default)]
    pub(crate) dead_letters: DeadLetters,
    /// Users, admins and tokens.
    #[serde(default)]
    pub(crate) auth: AuthConfig,
    /// Traces of the way of messages, for OpenTelemetry collectors. Off unless this table is there.
    #[serde(default)]
    pub(crate) traces: Option<poa_traces::Config>,
    /// Shared libraries with more kinds of handlers and receivers.
    #[serde(default, rename = "plugins")]
    pub(crate) _plugins: Vec<Library>,
}

fn data_dir() -> PathBuf {
    "poa-data".into()
}

impl Top {
    /// The data directory of a configuration that names none.
    pub(crate) fn default_data_dir() -> PathBuf {
        data_dir()
    }
}

const fn inactive_after() -> Duration {
    Duration::from_secs(7)
}

const fn memory_limit() -> Size {
    Size::bytes(256 << 20)
}

const fn start_timeout() -> Duration {
    Duration::from_secs(15)
}

/// The listener for operators: health, metrics, status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Address and port. Any other than loopback needs `token`.
    pub(crate) listen: Listen,
    /// The token that requests send as `Authorization: Bearer TOKEN`; at least 16 characters. `/health/live` and `/health/ready` need none.
    pub(crate) token: Option<Secret>,
    /// The certificate for HTTPS; plain HTTP when absent.
    pub(crate) tls: Option<Tls>,
    /// Further names that the `Host` header of a request may have. IP addresses, `localhost` and the name in `listen` are always accepted; with
    /// `token`, every name is.
    pub(crate) hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        let listen = Listen::from(([127, 0, 0, 1], 4000));
        Self { listen, token: None, tls: None, hosts: Vec::new() }
    }
}

/// The shortest token that is accepted, in characters.
const SHORTEST_TOKEN: usize = 16;

impl Admin {
    /// Reports the values that cannot work, by their keys.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        match &self.token {
            None if !self.listen.is_loopback() => {
                let message = format!(
                    "is missing: every client that can connect to {} could read metrics and status; set a token, or listen on 127.0.0.1",
                    self.listen
                );
                vec![Problem::new("token", message)]
            }
            Some(token) if token.expose().chars().count() < SHORTEST_TOKEN => {
                let message =
                    format!("must have at least {SHORTEST_TOKEN} characters; use random ones");
                vec![Problem::new("token", message)]
            }
            _ => Vec::new(),
        }
    }
}

/// Limits on what one agent, user or address may take from others.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// For each agent.
    pub(crate) agent: AgentLimits,
    /// For each user that presents a token.
    pub(crate) user: SenderLimits,
    /// For each address; `memory` only while no user is known. Of an IPv6 address, the first 64 bits count.
    pub(crate) address: SenderLimits,
}

/// Limits on what one agent may send.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentLimits {
    /// The most messages a second, on average over `burst`. Faster messages are refused with 429 and `Retry-After`. Default: no limit.
    #[schemars(range(min = 1))]
    messages: Option<std::num::NonZeroU32>,
    /// The same limit in bytes a second.
    bytes: Option<Size>,
    /// The size of a burst, as the time it would take at this rate. Default: 10 s.
    burst: Option<Duration>,
}

/// Limits on what one user or address may take and send.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SenderLimits {
    /// The most memory for bodies that are being received or decoded. Even without a limit, one sender never gets more than is still free, so at
    /// most half of the pool.
    memory: Option<Size>,
    /// As for agents.
    #[schemars(range(min = 1))]
    messages: Option<std::num::NonZeroU32>,
    /// As for agents.
    bytes: Option<Size>,
    /// As for agents.
    burst: Option<Duration>,
}

impl Limits {
    /// The rates at which senders may send.
    pub(crate) fn rates(&self) -> Rates {
        Rates::new(self.agent.rate(), self.user.rate(), self.address.rate())
    }
}

impl AgentLimits {
    fn rate(&self) -> Rate {
        let burst = self.burst.map(Duration::get);
        Rate::new(self.messages.map(Into::into), self.bytes.map(Size::get), burst)
    }
}

impl SenderLimits {
    fn rate(&self) -> Rate {
        let Self { messages, bytes, burst, .. } = *self;
        AgentLimits { messages, bytes, burst }.rate()
    }

    /// The limit on the memory for bodies.
    pub(crate) fn share(&self) -> ShareLimits {
        let mut share = ShareLimits::default();
        share.memory = self.memory;
        share
    }
}

/// How long the server may take to stop.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stop {
    /// How long handlers may take to answer their requests in flight.
    pub(crate) handlers: Duration,
    /// How long receivers may take, after that, to drain their backlogs. At a reload at most 5 s with `engine = "log"`: the next host delivers
    /// the rest.
    pub(crate) drain: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { handlers: Duration::from_secs(10), drain: Duration::from_secs(20) }
    }
}

/// The bus between handlers and receivers.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bus {
    /// The engine, which keeps messages until receivers confirm them. Its own keys are in the table with its name.
    pub(crate) engine: String,
    /// The guarantee of a positive answer to an agent. Default: `stored` with the log, `memory` without.
    pub(crate) ack: Option<Ack>,
    /// The same for single data types, by name.
    pub(crate) ack_for: BTreeMap<String, Ack>,
    /// The treatment of messages of types that no receiver subscribes to.
    pub(crate) unrouted: Unrouted,
    /// How long an answer may wait for the receivers when the ack is `delivered`.
    pub(crate) delivered_within: Duration,
    /// How long idempotency keys are remembered: a message that is sent again with its key within this time is not stored twice. The log keeps
    /// everything written within this time, but at most 256 MiB for this purpose.
    pub(crate) idempotency_window: Duration,
    /// The most idempotency keys that are remembered; each takes about 100 bytes of memory.
    pub(crate) idempotency_keys: usize,
}

/// The engine that stores nothing.
pub(crate) const MEMORY: &str = "memory";

/// The engines that serve this machine only, where handlers without receivers make no sense.
pub(crate) const LOCAL: [&str; 2] = ["log", MEMORY];

impl Default for Bus {
    fn default() -> Self {
        Self {
            engine: "log".to_owned(),
            unrouted: Unrouted::default(),
            ack: None,
            ack_for: BTreeMap::new(),
            delivered_within: Duration::from_secs(30),
            idempotency_window: Duration::from_secs(600),
            idempotency_keys: KeyWindow::default().keys,
        }
    }
}

impl Bus {
    /// The deduplication window: its time and number of keys.
    pub(crate) fn idempotency(&self) -> KeyWindow {
        let window = KeyWindow::default().time(self.idempotency_window.get());
        window.keys(self.idempotency_keys)
    }

    /// The guarantee of a positive answer, with the default filled in.
    pub(crate) fn ack(&self) -> Ack {
        self.ack.unwrap_or(if self.engine == MEMORY { Ack::Memory } else { Ack::Stored })
    }
}

/// The store for dead letters, messages that a receiver can never accept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeadLetters {
    /// The most data that is kept. When it is full, the oldest dead letters are removed, counted and reported.
    pub(crate) max_bytes: Size,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { max_bytes: Size::bytes(256 << 20) }
    }
}

/// A shared library with plugins.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Library {
    /// The file, relative to the directory of the configuration file.
    #[serde(rename = "path")]
    pub(crate) _path: PathBuf,
}
