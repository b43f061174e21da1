//! The interface of handlers to the watcher of their host.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::table::Via;
use super::{Link, Watcher};
use crate::{Activity, AgentId, Relay, Sign};

/// Detects silent agents for all handlers of a host. Cloning is cheap.
///
/// An agent is active while it has been silent for less than the timeout of a handler that heard it: the longest of them counts.
///
/// ```
/// use poa_core::{AgentId, Host};
/// # use poa_engine_local::Memory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let host = Host::builder().data_dir(dir.path()).engine::<Memory>("memory", Default::default()).start().await?;
/// // A handler takes it from its own context.
/// let cx = host.handle().context("lines");
/// let pump = AgentId::new("pump-7")?;
/// cx.activity().ping(&pump); // receivers are told that the pump is active
/// assert_eq!(cx.activity().active(), 1);
/// cx.activity().bye(&pump); // and that it left
/// assert_eq!(cx.activity().active(), 0);
/// # host.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ActivityMonitor {
    pub(super) watch: Watch,
    /// The handler's own timeout; otherwise that of the host.
    pub(super) timeout: Option<Duration>,
}

#[derive(Clone)]
pub(super) enum Watch {
    /// In this host.
    Here(Arc<Watcher>),
    /// In the host that the plugin belongs to, in another process or library.
    There(Arc<dyn Relay>),
}

impl ActivityMonitor {
    /// A monitor that reports to this watcher.
    pub(crate) fn of(watcher: &Arc<Watcher>) -> Self {
        Self { watch: Watch::Here(watcher.clone()), timeout: None }
    }

    /// A monitor that reports to another host.
    pub(crate) fn relayed(relay: Arc<dyn Relay>) -> Self {
        Self { watch: Watch::There(relay), timeout: None }
    }

    /// The same monitor for a handler with its own timeout.
    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        if let Watch::Here(watcher) = &self.watch {
            watcher.expect_timeout(timeout);
        }
        Self { timeout: Some(timeout), ..self }
    }

    /// The agent is alive: starts or resets its timer. An agent that was not active becomes active.
    pub fn ping(&self, agent: &AgentId) {
        self.ping_over(agent, None);
    }

    /// The agent sent data: resets a running timer; never starts one.
    pub fn data(&self, agent: &AgentId) {
        self.data_over(agent, None);
    }

    /// The agent leaves: it is inactive immediately, unless it already was.
    pub fn bye(&self, agent: &AgentId) {
        match &self.watch {
            Watch::Here(watcher) => watcher.bye(agent),
            Watch::There(relay) => relay.sign_of_life(agent, Sign::Bye),
        }
    }

    /// Opens a link: agents that use it become inactive when it closes.
    ///
    /// In a plugin that belongs to another host the end of a link is not detected; only timers apply.
    #[must_use]
    pub fn link(&self) -> Link {
        Link::new(self.clone())
    }

    pub(super) fn ping_over(&self, agent: &AgentId, via: Via) {
        match &self.watch {
            Watch::Here(watcher) => watcher.ping(agent, via, self.timeout),
            Watch::There(relay) => relay.sign_of_life(agent, Sign::Ping),
        }
    }

    pub(super) fn data_over(&self, agent: &AgentId, via: Via) {
        match &self.watch {
            Watch::Here(watcher) => watcher.data(agent, via, self.timeout),
            Watch::There(relay) => relay.sign_of_life(agent, Sign::Data),
        }
    }

    /// The number of agents whose silence would be detected.
    #[must_use]
    pub fn active(&self) -> usize {
        match &self.watch {
            Watch::Here(watcher) => watcher.active(),
            Watch::There(relay) => relay.active(),
        }
    }
}

impl ActivityMonitor {
    /// The agents reported to receivers as active, in the order in which they became active.
    pub(crate) fn active_agents(&self) -> Vec<Activity> {
        match &self.watch {
            Watch::Here(watcher) => watcher.table.active_agents(),
            // Receivers run in the host itself.
            Watch::There(_) => Vec::new(),
        }
    }
}

impl fmt::Debug for ActivityMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityMonitor({} active)", self.active())
    }
}
