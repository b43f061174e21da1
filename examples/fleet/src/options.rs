//! The options of a fleet.

use std::num::NonZeroUsize;
use std::time::Duration;

use poa_agent::{AgentId, BaseUrl, Config, Credentials, Trust};

/// The number of agents, their behaviour, and the server.
///
/// Made by [`Options::new`] with defaults for the other fields, which can then be changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The REST handler (`http://`, `https://`) or the WebSocket handler (`ws://`, `wss://`).
    pub server: BaseUrl,
    /// The auth server: `/session`.
    pub auth: BaseUrl,
    /// The user that all agents log in as, which may send for any agent.
    pub credentials: Credentials,
    /// The trusted certificates. Default: the roots of the system.
    pub trust: Trust,
    /// The number of agents. Default: 10.
    pub agents: NonZeroUsize,
    /// The prefix of agent ids. Default: `fleet`, so that they are `fleet-00000` and so on.
    pub name: AgentId,
    /// The rate of each agent. Default: once a second.
    pub rate: Rate,
    /// The time between pings of an agent; `None`: it never pings, so the server does not detect its silence. Default:
    /// 3 s.
    pub ping_interval: Option<Duration>,
    /// The time to send. Default: until the fleet is stopped.
    pub duration: Option<Duration>,
    /// The number of WebSocket connections, each shared by several agents as behind a gateway. Default: one for each
    /// agent. Ignored for REST, where idle connections are reused.
    pub connections: Option<NonZeroUsize>,
    /// The share of agents that leave at times, silently, with a bye, or by a crash, and return: 0 to 1. Default: 0.
    pub silent: f64,
    /// The mean time these agents stay, give or take a half. Default: 1 min.
    pub stay: Duration,
    /// The mean time they are away, give or take a half. Default: 30 s.
    pub away: Duration,
    /// The time over which the agents start, one after the other. Default: 0.
    pub ramp: Duration,
    /// The number of blocks that an agent reports when it starts or returns, at most 100. Default: 40, as real agents.
    pub history: usize,
    /// The same seed gives the same agents with the same messages. Default: 1.
    pub seed: u64,
    /// The time to wait at the end for outstanding acknowledgements. Default: 30 s.
    pub grace: Duration,
    /// The time limit for the answer to a call. Default: 10 s.
    pub request_timeout: Duration,
}

/// The rate of an agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Messages per second, on average.
    PerSecond(f64),
    /// The next message is sent when the last one is answered.
    Unlimited,
}

impl Options {
    /// Sets every field that has a default.
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

    /// The expected number of concurrently open connections.
    pub(crate) fn sockets(&self) -> usize {
        let each = self.agents.get();
        match self.connections {
            Some(connections) if self.server.is_websocket() => connections.get().min(each),
            _ => each,
        }
    }

    /// The settings for the transport of one agent, or for the login of all.
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
