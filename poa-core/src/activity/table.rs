//! What is known of each agent.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

use parking_lot::Mutex;

use crate::{Activity, AgentId, Timestamp};

/// How many locks the table has, so that handlers on several cores do not wait for each other.
const SHARDS: usize = 16;

/// For agents that receivers were not told of.
const NEVER: Timestamp = Timestamp::from_micros(0);

/// The link over which an agent spoke last, if it was one.
pub(super) type Via = Option<NonZeroU32>;

/// The state of every agent that pinged lately.
#[derive(Debug, Default)]
pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    hasher: std::collections::hash_map::RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    agents: HashMap<AgentId, Agent>,
    active: usize,
    generations: u32,
}

#[derive(Clone, Copy, Debug)]
struct Agent {
    state: State,
    /// Since when receivers take it for active, if they do.
    since: Timestamp,
    via: Via,
    /// It was active before a restart, and has not been heard since.
    presumed: bool,
    /// The tick at which an active agent falls silent, or an inactive one is forgotten.
    deadline: u64,
    /// Tells this entry from an earlier one of the same agent that still stands in the wheel.
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It pings, and its silence would be noticed.
    Active,
    /// Receivers were told.
    Inactive,
    /// It never pinged, but the end of its link would be noticed. Not in the wheel.
    Linked,
}

impl Table {
    /// Notes a ping. When the agent becomes active by it, `changed` is called, and the generation of the entry to watch is
    /// returned.
    pub(super) fn ping(
        &self,
        agent: &AgentId,
        via: Via,
        deadline: u64,
        changed: impl FnOnce() -> Timestamp,
    ) -> Option<u32> {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get_mut(agent) {
            Some(known) if known.state == State::Active => {
                known.via = via;
                known.deadline = deadline;
                // The crash may have come before the receivers heard of it.
                if std::mem::take(&mut known.presumed) {
                    known.since = changed();
                }
                None
            }
            _ => {
                let since = changed();
                shard.active += 1;
                Some(shard.put(agent, State::Active, since, via, deadline))
            }
        }
    }

    /// Takes an agent for active that nobody has heard yet. Returns the generation of the entry to watch.
    pub(super) fn presume(&self, agent: &AgentId, deadline: u64) -> u32 {
        let mut shard = self.shard(agent).lock();
        shard.active += 1;
        let generation = shard.put(agent, State::Active, NEVER, None, deadline);
        if let Some(agent) = shard.agents.get_mut(agent) {
            agent.presumed = true;
        }
        generation
    }

    /// Notes data of an agent.
    pub(super) fn data(&self, agent: &AgentId, via: Via, deadline: u64) {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get_mut(agent) {
            Some(known) if known.state == State::Active => {
                known.via = via;
                known.deadline = deadline;
            }
            Some(known) if known.state == State::Linked && via.is_some() => known.via = via,
            // It speaks again, so receivers take it for active: that it was inactive no longer counts.
            _ if via.is_some() => drop(shard.put(agent, State::Linked, NEVER, via, u64::MAX)),
            Some(_) => drop(shard.agents.remove(agent)),
            None => {}
        }
    }

    /// Gives more time to an agent that is active, and spoke over this link last.
    pub(super) fn excuse(&self, agent: &AgentId, via: Via, deadline: u64) {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get_mut(agent);
        if let Some(known) = known.filter(|known| known.via == via && known.state == State::Active)
        {
            known.deadline = deadline;
        }
    }

    /// Notes that a link is gone. When the agent spoke over it last, `changed` is called, and the generation of the entry to
    /// watch is returned.
    pub(super) fn gone(
        &self,
        agent: &AgentId,
        via: Via,
        forget_at: u64,
        changed: impl FnOnce() -> Timestamp,
    ) -> Option<u32> {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get(agent).filter(|known| known.via == via)?;
        match known.state {
            State::Inactive => return None,
            State::Active => shard.active -= 1,
            State::Linked => {}
        }
        let since = changed();
        Some(shard.put(agent, State::Inactive, since, None, forget_at))
    }

    /// Notes a leave. Unless the agent was known to be inactive, `changed` is called, and the generation of the entry to
    /// watch is returned.
    pub(super) fn bye(
        &self,
        agent: &AgentId,
        forget_at: u64,
        changed: impl FnOnce() -> Timestamp,
    ) -> Option<u32> {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get(agent).map(|known| known.state) {
            Some(State::Inactive) => return None,
            Some(State::Active) => shard.active -= 1,
            Some(State::Linked) | None => {}
        }
        let since = changed();
        Some(shard.put(agent, State::Inactive, since, None, forget_at))
    }

    /// Decides about an agent that the wheel brought up, and returns when to look at it again. When it fell silent, `silent`
    /// is called.
    pub(super) fn examine(
        &self,
        agent: &AgentId,
        generation: u32,
        now: u64,
        forget_at: u64,
        silent: impl FnOnce() -> Timestamp,
    ) -> Option<u64> {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get_mut(agent).filter(|known| known.generation == generation)?;
        if known.deadline > now {
            return Some(known.deadline);
        }
        if known.state == State::Active {
            known.state = State::Inactive;
            known.deadline = forget_at;
            shard.active -= 1;
            silent();
            return Some(forget_at);
        }
        shard.agents.remove(agent);
        None
    }

    /// Those that receivers were told are active, the first to become so first.
    pub(super) fn active_agents(&self) -> Vec<Activity> {
        let mut agents = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let told = |agent: &Agent| agent.state == State::Active && !agent.presumed;
            let active = shard.agents.iter().filter(|(_, agent)| told(agent));
            agents.extend(active.map(|(id, agent)| Activity::new(id.clone(), true, agent.since)));
        }
        agents.sort_by_key(|agent| agent.since);
        agents
    }

    pub(super) fn active(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().active).sum()
    }

    fn shard(&self, agent: &AgentId) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(agent) as usize % SHARDS]
    }
}

impl Shard {
    fn put(
        &mut self,
        agent: &AgentId,
        state: State,
        since: Timestamp,
        via: Via,
        deadline: u64,
    ) -> u32 {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let entry = Agent { state, since, via, presumed: false, deadline, generation };
        self.agents.insert(agent.clone(), entry);
        generation
    }
}
