use std::collections::HashSet;
use std::fmt;

use super::ActivityMonitor;
use super::monitor::Watch;
use super::table::Via;
use crate::AgentId;

/// A connection, or another path whose end is detected, over which agents send.
///
/// An agent is alive as long as the link it last used is open. When the link is dropped, every agent whose latest sign of
/// life came over it is inactive immediately, unless it left before.
///
/// ```
/// use poa_core::{AgentId, Host};
/// # use poa_engine_local::Memory;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let host = Host::builder().data_dir(dir.path()).engine::<Memory>("memory", Default::default()).start().await?;
/// # let cx = host.handle().context("lines");
/// // One for each connection; the task of the connection owns it.
/// let mut link = cx.activity().link();
/// link.ping(&AgentId::new("pump-7")?);
/// link.ping(&AgentId::new("pump-8")?);
/// assert_eq!(cx.activity().active(), 2);
///
/// drop(link); // however the connection ended
/// assert_eq!(cx.activity().active(), 0);
/// # host.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Link {
    monitor: ActivityMonitor,
    /// `None` if the end is not detected.
    id: Via,
    pub(super) agents: HashSet<AgentId>,
    /// The agent that used it last. Most links have one agent, which is then recognised without a hash.
    latest: Option<AgentId>,
}

impl Link {
    pub(super) fn new(monitor: ActivityMonitor) -> Self {
        let id = match &monitor.watch {
            Watch::Here(watcher) => watcher.next_link(),
            Watch::There(_) => None,
        };
        Self { monitor, id, agents: HashSet::new(), latest: None }
    }

    /// As [`ActivityMonitor::ping`].
    pub fn ping(&mut self, agent: &AgentId) {
        self.note(agent);
        self.monitor.ping_over(agent, self.id);
    }

    /// As [`ActivityMonitor::data`]; the end of the link is detected for agents that never ping as well.
    pub fn data(&mut self, agent: &AgentId) {
        self.note(agent);
        self.monitor.data_over(agent, self.id);
    }

    /// As [`ActivityMonitor::bye`].
    pub fn bye(&mut self, agent: &AgentId) {
        self.agents.remove(agent);
        self.latest = None;
        self.monitor.bye(agent);
    }

    /// The handler did not read from this link for a while: gives each agent that is active over it one full timeout, as if
    /// it had just been heard.
    ///
    /// In a plugin that belongs to another host, this does nothing.
    pub fn excuse(&self) {
        let ActivityMonitor { watch, timeout } = &self.monitor;
        if let Watch::Here(watcher) = watch {
            self.agents.iter().for_each(|agent| watcher.excuse(agent, self.id, *timeout));
        }
    }

    /// The agent with this id, if it used this link: cheaper than a new [`AgentId`].
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&AgentId> {
        match &self.latest {
            Some(latest) if latest.as_str() == id => Some(latest),
            _ => self.agents.get(id),
        }
    }

    fn note(&mut self, agent: &AgentId) {
        if self.latest.as_ref() == Some(agent) {
            return;
        }
        if !self.agents.contains(agent) {
            self.agents.insert(agent.clone());
        }
        self.latest = Some(agent.clone());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Watch::Here(watcher) = &self.monitor.watch {
            watcher.all_gone(std::mem::take(&mut self.agents), self.id);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} agents)", self.agents.len())
    }
}
