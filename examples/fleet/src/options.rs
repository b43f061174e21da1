//! What a fleet must be told.

use std::num::NonZeroUsize;
use std::time::Duration;

use poa_agent::{AgentId, BaseUrl, Config, Credentials, Trust};

/// How many agents there are, what they do, and where they send it.
///
/// Made by [`Options::new`] with the defaults for all the rest, which may then be changed field by field.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The REST handler (`http://`, `https://`) or the WebSocket handler (`ws://`, `wss://`).
    pub server: BaseUrl,
    /// The auth server: `/session`.
    pub auth: BaseUrl,
    /// The user that all agents log in as, who may speak for any agent.
    pub credentials: Credentials,
    /// Whose certificates are believed. Default: the roots of the system.
    pub trust: Trust,
    /// How many agents there are. Default: 10.
    pub agents: NonZeroUsize,
    /// What the ids of agents begin with. Default: `fleet`, so that they are `fleet-00000` and so on.
    pub name: AgentId,
    /// How often each agent sends. Default: once a second.
    pub rate: Rate,
    /// From one ping of an agent to the next; `None`: it never pings, so the server does not notice its silence. Default:
    /// 3 s.
    pub ping_interval: Option<Duration>,
    /// How long the fleet sends. Default: until it is stopped.
    pub duration: Option<Duration>,
    /// Over how many WebSocket connections the agents speak, several over each as behind a gateway. Default: one for each
    /// agent. Without meaning for REST, where kept connections are shared.
    pub connections: Option<NonZeroUsize>,
    /// Which share of the agents goes away at times, silently, with a bye, or by a crash, and returns: 0 to 1. Default: 0.
    pub silent: f64,
    /// How long these agents stay, give or take a half. Default: 1 min.
    pub stay: Duration,
    /// How long they are away, give or take a half. Default: 30 s.
    pub away: Duration,
    /// Over how long the agents begin, one after the other. Default: 0.
    pub ramp: Duration,
    /// How many blocks an agent reports when it begins or returns, at most 100. Default: 40, as real agents.
    pub history: usize,
    /// The same seed gives the same agents, who say the same. Default: 1.
    pub seed: u64,
    /// How long to wait at the end for what is not acknowledged yet. Default: 30 s.
    pub grace: Duration,
    /// How long a server may take to answer a call. Default: 10 s.
    pub request_timeout: Duration,
}

/// How often an agent sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many times a second, on average.
    PerSecond(f64),
    /// Whenever the last message was answered.
    Unlimited,
}

impl Options {
    /// The defaults for everything that can have one.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn new(server: BaseUrl, auth: BaseUrl, credentials: Credentials) -> Self {
        Self {
            server,
            auth,
            credentials,
            trust: Trust::System,
            agents: const { NonZeroUsize::new(10).expect("not zero") },
            name: "fleet".parse().expect("a good id"),
            rate: Rate::PerSecond(1.0),
            ping_interval: Some(Duration::from_secs(3)),
            duration: None,
            connections: None,
            silent: 0.0,
            stay: Duration::from_secs(60),
            away: Duration::from_secs(30),
            ramp: Duration::ZERO,
            history: 40,
            seed: 1,
            grace: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// How many connections will be open at the same time, as far as one can tell.
    pub(crate) fn sockets(&self) -> usize {
        let each = self.agents.get();
        match self.connections {
            Some(connections) if self.server.is_websocket() => connections.get().min(each),
            _ => each,
        }
    }

    /// What the transport of one agent, or the login of all, needs to know.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(
            self.server.clone(),
            self.auth.clone(),
            self.credentials.clone(),
            self.name.clone(),
        );
        config.trust = self.trust.clone();
        config.request_timeout = self.request_timeout;
        config
    }
}

impl Rate {
    /// Seconds from one message to the next; 0 without a limit.
    pub(crate) fn interval(self) -> f64 {
        match self {
            Self::PerSecond(rate) => 1.0 / rate,
            Self::Unlimited => 0.0,
        }
    }
}
