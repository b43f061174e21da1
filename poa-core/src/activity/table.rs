//! What is known of each agent.

use std::collections::HashMap;
use std::hash::BuildHasher;

use parking_lot::Mutex;

use crate::AgentId;

/// How many locks the table has, so that handlers on several cores do not wait for each other.
const SHARDS: usize = 16;

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
    active: bool,
    /// The tick at which an active agent falls silent, or an inactive one is forgotten.
    deadline: u64,
    /// Tells this entry from an earlier one of the same agent that still stands in the wheel.
    generation: u32,
}

/// What becomes of an agent whose time may have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not yet: look again at this tick.
    Watch(u64),
    /// It fell silent just now; look again at this tick, to forget it.
    Silent(u64),
    /// Nothing more is to be done for it.
    Forgotten,
}

impl Table {
    /// Notes a ping. An agent that becomes active by it needs watching: its generation is returned.
    pub(super) fn ping(&self, agent: &AgentId, deadline: u64) -> Option<u32> {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get_mut(agent) {
            Some(known) if known.active => {
                known.deadline = deadline;
                None
            }
            _ => {
                shard.active += 1;
                Some(shard.put(agent, true, deadline))
            }
        }
    }

    /// Notes data of an agent.
    pub(super) fn data(&self, agent: &AgentId, deadline: u64) {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get_mut(agent) {
            Some(known) if known.active => known.deadline = deadline,
            // It speaks again, so receivers take it for active: that it was inactive no longer counts.
            Some(_) => drop(shard.agents.remove(agent)),
            None => {}
        }
    }

    /// Notes a leave. Unless the agent was known to be inactive, its new generation is returned.
    pub(super) fn bye(&self, agent: &AgentId, forget_at: u64) -> Option<u32> {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get(agent).map(|known| known.active) {
            Some(false) => return None,
            Some(true) => shard.active -= 1,
            None => {}
        }
        Some(shard.put(agent, false, forget_at))
    }

    /// Decides what becomes of an agent that the wheel brought up.
    pub(super) fn examine(
        &self,
        agent: &AgentId,
        generation: u32,
        now: u64,
        forget_at: u64,
    ) -> Fate {
        let mut shard = self.shard(agent).lock();
        let Some(known) = shard.agents.get_mut(agent) else { return Fate::Forgotten };
        if known.generation != generation {
            return Fate::Forgotten;
        }
        if known.deadline > now {
            return Fate::Watch(known.deadline);
        }
        if known.active {
            known.active = false;
            known.deadline = forget_at;
            shard.active -= 1;
            return Fate::Silent(forget_at);
        }
        shard.agents.remove(agent);
        Fate::Forgotten
    }

    pub(super) fn active(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().active).sum()
    }

    fn shard(&self, agent: &AgentId) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(agent) as usize % SHARDS]
    }
}

impl Shard {
    fn put(&mut self, agent: &AgentId, active: bool, deadline: u64) -> u32 {
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        self.agents.insert(agent.clone(), Agent { active, deadline, generation });
        generation
    }
}
