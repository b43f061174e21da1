//! What the agent must be told.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::{AgentId, Backoff, BaseUrl, Credentials};

/// Where the agent sends to, as whom, and how often.
///
/// Made by [`Config::new`] with the defaults for all the rest, which may then be changed field by field.
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
    /// Whose certificates are believed. Default: the roots of the system.
    pub trust: Trust,
    /// How long one exchange may take, connecting included. Default: 10 s.
    pub request_timeout: Duration,
    /// Intervals, buffer, backoff.
    pub settings: Settings,
}

impl Config {
    /// The defaults for everything that can have one.
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

/// What does not depend on how the server is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// From one measurement to the next; not zero. Default: 5 s.
    pub interval: Duration,
    /// From one ping to the next; not zero. Default: 3 s. The server calls an agent inactive after 7 s of silence.
    pub ping_interval: Duration,
    /// How many metrics may wait for the server; one more, and the oldest is dropped. Default: 10,000.
    pub buffer: NonZeroUsize,
    /// How long the agent tries, at the end, to send what still waits. Default: 5 s.
    pub flush_timeout: Duration,
    /// The waits between attempts.
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

/// Which certificates of a server are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Those signed by a root that the operating system trusts.
    #[default]
    System,
    /// Those signed by a certificate in this PEM file. A self-signed certificate of the server itself will do.
    CaFile(PathBuf),
    /// All. Whoever sits between agent and server can read the password.
    Insecure,
}
