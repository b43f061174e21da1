//! The configuration of an agent.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::{AgentId, Backoff, BaseUrl, Credentials};

/// The server, the user, and the intervals of an agent.
///
/// Made by [`Config::new`] with defaults for the other fields, which can then be changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The REST handler (`http://`, `https://`) or the WebSocket handler (`ws://`, `wss://`).
    pub server: BaseUrl,
    /// The auth server: `/session`.
    pub auth: BaseUrl,
    /// The user to log in as.
    pub credentials: Credentials,
    /// The name of this agent.
    pub id: AgentId,
    /// The trusted certificates. Default: the roots of the system.
    pub trust: Trust,
    /// The time limit of a call, including the connection. Default: 10 s.
    pub request_timeout: Duration,
    /// Intervals, buffer, backoff.
    pub settings: Settings,
}

impl Config {
    /// Sets every field that has a default.
    #[must_use]
    pub fn new(server: BaseUrl, auth: BaseUrl, credentials: Credentials, id: AgentId) -> Self {
        Self {
            server,
            auth,
            credentials,
            id,
            trust: Trust::default(),
            request_timeout: Duration::from_secs(10),
            settings: Settings::default(),
        }
    }
}

/// Settings that do not depend on the transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The time between measurements; not zero. Default: 5 s.
    pub interval: Duration,
    /// The time between pings; not zero. Default: 3 s. The server considers an agent inactive after 7 s without a
    /// ping.
    pub ping_interval: Duration,
    /// The number of buffered metrics; beyond it, the oldest is dropped. Default: 10,000.
    pub buffer: NonZeroUsize,
    /// The time limit for sending the remaining metrics at the end. Default: 5 s.
    pub flush_timeout: Duration,
    /// The delays between attempts.
    pub backoff: Backoff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            ping_interval: Duration::from_secs(3),
            buffer: const { NonZeroUsize::new(10_000).expect("not zero") },
            flush_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
        }
    }
}

/// The certificates of a server that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Those signed by a root that the operating system trusts.
    #[default]
    System,
    /// Those signed by a certificate in this PEM file, which can be a self-signed certificate of the server itself.
    CaFile(PathBuf),
    /// All. An attacker between agent and server can read the password.
    Insecure,
}
