use std::collections::HashSet;
use std::fmt;

use super::table::Via;
use super::{ActivityMonitor, Watch};
use crate::AgentId;

/// One way over which agents speak and whose end is noticed, such as a connection that stays open.
///
/// An agent that speaks over it is alive as long as it is there. When it is dropped, every agent that spoke over it, and
/// nowhere else since, is inactive at once; those that said goodbye are so already.
pub struct Link {
    monitor: ActivityMonitor,
    /// `None` where nobody notices.
    id: Via,
    agents: HashSet<AgentId>,
}

impl Link {
    pub(super) fn new(monitor: ActivityMonitor) -> Self {
        let id = match &monitor.0 {
            Watch::Here(watcher) => watcher.next_link(),
            Watch::There(_) => None,
        };
        Self { monitor, id, agents: HashSet::new() }
    }

    /// As [`ActivityMonitor::ping`].
    pub fn ping(&mut self, agent: &AgentId) {
        self.note(agent);
        self.monitor.ping_over(agent, self.id);
    }

    /// As [`ActivityMonitor::data`]; the end of the link is noticed of agents that never ping as well.
    pub fn data(&mut self, agent: &AgentId) {
        self.note(agent);
        self.monitor.data_over(agent, self.id);
    }

    /// As [`ActivityMonitor::bye`].
    pub fn bye(&mut self, agent: &AgentId) {
        self.agents.remove(agent);
        self.monitor.bye(agent);
    }

    /// Nobody listened to this link for a while: the agents that are active over it have the time of one timeout anew, as if
    /// they had just spoken.
    ///
    /// In a plugin that belongs to another host, it does nothing.
    pub fn excuse(&self) {
        if let Watch::Here(watcher) = &self.monitor.0 {
            self.agents.iter().for_each(|agent| watcher.excuse(agent, self.id));
        }
    }

    /// The agent with this id, if it spoke over this link: cheaper than a new [`AgentId`].
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&AgentId> {
        self.agents.get(id)
    }

    fn note(&mut self, agent: &AgentId) {
        if !self.agents.contains(agent) {
            self.agents.insert(agent.clone());
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Watch::Here(watcher) = &self.monitor.0 {
            watcher.all_gone(std::mem::take(&mut self.agents), self.id);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} agents)", self.agents.len())
    }
}
