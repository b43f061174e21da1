//! The state of each agent.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

use parking_lot::Mutex;

use super::quiet::Quiet;
use super::{REMEMBERED, ticks};
use crate::{Activity, AgentId, Timestamp};

/// The number of locks of the table, so that handlers on several cores do not contend.
const SHARDS: usize = 16;

/// For agents that were not reported to receivers.
const NEVER: Timestamp = Timestamp::from_micros(0);

/// The most changes of one agent that are reported to receivers within [`WINDOW`]. Each change divides a batch, so an agent that
/// changes constantly would slow down all others. Further changes are reported as one at the end of the window: the state at that
/// time.
const MOST_CHANGES: u8 = 16;

/// Ten seconds, in ticks.
const WINDOW: u64 = 200;

/// The link that the agent used last, if any.
pub(super) type Via = Option<NonZeroU32>;

/// An entry of the table to look at again at this tick, if it is still of this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: u64,
    pub(super) generation: u32,
}

/// The state of every agent heard recently.
#[derive(Debug)]
pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    hasher: std::collections::hash_map::RandomState,
}

#[derive(Debug)]
struct Shard {
    agents: HashMap<AgentId, Agent>,
    /// Inactive agents whose last change is some time ago.
    quiet: Quiet,
    active: usize,
    generations: u32,
}

#[derive(Clone, Copy, Debug)]
struct Agent {
    state: State,
    /// The time from which receivers regard it as active, if they do.
    since: Timestamp,
    via: Via,
    /// It was active before a restart, and has not been heard since.
    presumed: bool,
    /// The deadline is that of the most patient handler, since it is not known over which one it was heard.
    guessed: bool,
    /// The state that was reported to receivers.
    told_active: bool,
    /// The number of changes reported to receivers in the window that ends at the tick `window_end`.
    changes: u8,
    window_end: u64,
    /// The tick at which an active agent falls silent, or an inactive one leaves the table.
    deadline: u64,
    /// Distinguishes this entry from an earlier one of the same agent that is still in the wheel.
    generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It pings, and its silence would be detected.
    Active,
    /// It left, or fell silent.
    Inactive,
    /// It never pinged, but the end of its link would be detected. Not in the wheel.
    Linked,
    /// It sent data after it became inactive.
    Heard,
}

impl Default for Table {
    fn default() -> Self {
        let shard = || Shard {
            agents: HashMap::new(),
            quiet: Quiet::new(ticks(REMEMBERED)),
            active: 0,
            generations: 0,
        };
        Self { shards: std::array::from_fn(|_| Mutex::new(shard())), hasher: Default::default() }
    }
}

impl Table {
    /// Records a ping at this tick: the agent is active until `deadline`. Calls `tell` if that is a change; at the limit on reported
    /// changes, the entry is looked at again when the window ends.
    pub(super) fn ping(
        &self,
        agent: &AgentId,
        via: Via,
        (now, deadline): (u64, u64),
        tell: impl FnOnce(bool) -> Timestamp,
    ) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get_mut(agent) {
            Some(known) if known.state == State::Active && known.guessed => {
                let mut known = Agent { via, deadline, guessed: false, ..*known };
                // The process may have crashed before receivers were told.
                if std::mem::take(&mut known.presumed) {
                    known.since = tell(true);
                }
                return Some(shard.put(agent, known));
            }
            Some(known) if known.state == State::Active => {
                known.heard(via, deadline);
                return None;
            }
            _ => {}
        }
        shard.quiet.remove(self.hash(agent), now);
        let mut entry = shard.entry(agent, now);
        (entry.state, entry.via, entry.deadline) = (State::Active, via, deadline);
        // An agent that only sent data was never reported to receivers.
        entry.told_active = false;
        entry.change(now, tell);
        shard.active += 1;
        Some(shard.put(agent, entry))
    }

    /// Records an agent as active that has not been heard since the start.
    pub(super) fn presume(&self, agent: &AgentId, deadline: u64) -> Look {
        let mut shard = self.shard(agent).lock();
        let entry = shard.entry(agent, 0);
        shard.active += 1;
        let (presumed, guessed, told_active) = (true, true, true);
        let state = State::Active;
        shard.put(agent, Agent { state, presumed, guessed, told_active, deadline, ..entry })
    }

    /// Records data of an agent.
    pub(super) fn data(
        &self,
        agent: &AgentId,
        via: Via,
        (now, deadline): (u64, u64),
    ) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        let shard = &mut *shard;
        match shard.agents.get_mut(agent) {
            Some(known) if known.state == State::Active => {
                known.heard(via, deadline);
                return None;
            }
            Some(known) if known.state == State::Linked => {
                known.via = via;
                // It was heard elsewhere, so the end of the link does not concern it.
                if via.is_none() {
                    shard.agents.remove(agent);
                }
                return None;
            }
            Some(known) if known.state == State::Heard && via.is_none() => return None,
            Some(_) => {}
            None if shard.quiet.remove(self.hash(agent), now) || via.is_some() => {}
            None => return None,
        }
        // It is heard again, so receivers regard it as active: its earlier inactivity no longer counts.
        let mut entry = shard.entry(agent, now);
        (entry.via, entry.told_active) = (via, true);
        (entry.state, entry.deadline) = match via {
            Some(_) => (State::Linked, u64::MAX),
            None => (State::Heard, entry.window_end),
        };
        let look = shard.put(agent, entry);
        via.is_none().then_some(look)
    }

    /// Another node received data of an agent: resets a running timer.
    pub(super) fn heard_data(&self, agent: &AgentId, deadline: u64) {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get_mut(agent);
        if let Some(known) = known.filter(|known| known.state == State::Active) {
            known.heard(None, deadline);
        }
    }

    /// Receivers regard the agent as active.
    pub(super) fn told_active(
        &self,
        agent: &AgentId,
        since: Timestamp,
        (now, deadline): (u64, u64),
    ) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        if let Some(known) = shard.agents.get_mut(agent)
            && known.state == State::Active
        {
            (known.since, known.told_active) = (since, true);
            return None;
        }
        shard.quiet.remove(self.hash(agent), now);
        let entry = shard.entry(agent, now);
        shard.active += 1;
        let (state, guessed, told_active) = (State::Active, true, true);
        Some(shard.put(agent, Agent { state, since, guessed, told_active, deadline, ..entry }))
    }

    /// Receivers regard the agent as inactive.
    pub(super) fn told_inactive(&self, agent: &AgentId, now: u64) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get(agent)?;
        (known.state == State::Active).then(|| shard.leave(agent, now, |_| Timestamp::now()))
    }

    pub(super) fn is_active(&self, agent: &AgentId) -> bool {
        let shard = self.shard(agent).lock();
        shard.agents.get(agent).is_some_and(|known| known.state == State::Active)
    }

    /// A number that differs from process to process.
    pub(super) fn hash(&self, agent: &AgentId) -> u64 {
        self.hasher.hash_one(agent)
    }

    /// Extends the deadline of an agent that is active and used this link last.
    pub(super) fn excuse(&self, agent: &AgentId, via: Via, deadline: u64) {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get_mut(agent);
        if let Some(known) = known.filter(|known| known.via == via && known.state == State::Active)
        {
            known.heard(via, deadline);
        }
    }

    /// Records that a link is closed. An agent that used it last is inactive.
    pub(super) fn gone(
        &self,
        agent: &AgentId,
        via: Via,
        now: u64,
        tell: impl FnOnce(bool) -> Timestamp,
    ) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get(agent).filter(|known| known.via == via)?;
        if known.state == State::Inactive {
            return None;
        }
        Some(shard.leave(agent, now, tell))
    }

    /// Records that an agent leaves. Unless the agent was known to be inactive, that is a change.
    pub(super) fn bye(
        &self,
        agent: &AgentId,
        now: u64,
        tell: impl FnOnce(bool) -> Timestamp,
    ) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        match shard.agents.get(agent).map(|known| known.state) {
            Some(State::Inactive) => None,
            Some(_) => Some(shard.leave(agent, now, tell)),
            None => {
                // An agent that was never heard costs no entry, because a client can invent any number of them.
                if shard.quiet.insert(self.hash(agent), now) {
                    tell(false);
                }
                None
            }
        }
    }

    /// Decides about an agent whose tick has come, and returns when to look at it again. Calls `tell` if receivers are to be told of a
    /// change.
    pub(super) fn examine(
        &self,
        agent: &AgentId,
        generation: u32,
        now: u64,
        tell: impl FnOnce(bool) -> Timestamp,
    ) -> Option<Look> {
        let mut shard = self.shard(agent).lock();
        let known = shard.agents.get_mut(agent).filter(|known| known.generation == generation)?;
        let fell_silent = known.state == State::Active && known.deadline <= now;
        if fell_silent {
            known.state = State::Inactive;
            known.deadline = known.window_end.max(now);
        }
        known.change(now, tell);
        let look = known.look();
        let (is_over, is_inactive) = (known.deadline <= now, known.state == State::Inactive);
        shard.active -= usize::from(fell_silent);
        if !is_over {
            return Some(look);
        }
        shard.agents.remove(agent);
        if is_inactive {
            shard.quiet.insert(self.hash(agent), now);
        }
        None
    }

    /// The agents reported to receivers as active, in the order in which they became active.
    pub(super) fn active_agents(&self) -> Vec<Activity> {
        let mut agents = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let told = |agent: &Agent| {
                agent.state == State::Active && agent.told_active && !agent.presumed
            };
            let active = shard.agents.iter().filter(|(_, agent)| told(agent));
            agents.extend(active.map(|(id, agent)| Activity::new(id.clone(), true, agent.since)));
        }
        agents.sort_by_key(|agent| agent.since);
        agents
    }

    pub(super) fn active(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().active).sum()
    }

    /// The last bytes of the id choose the lock. Ids that a client chooses so that they share one contend, and no more: the map below
    /// the lock is keyed at random.
    fn shard(&self, agent: &AgentId) -> &Mutex<Shard> {
        let id = agent.as_str().as_bytes();
        let last = &id[id.len().saturating_sub(8)..];
        let mixed =
            last.iter().fold(0_u32, |mixed, byte| mixed.wrapping_mul(31) + u32::from(*byte));
        &self.shards[mixed as usize % SHARDS]
    }
}

impl Shard {
    /// The entry of an agent; a new one if it has none.
    fn entry(&self, agent: &AgentId, now: u64) -> Agent {
        self.agents.get(agent).copied().unwrap_or(Agent {
            state: State::Inactive,
            since: NEVER,
            via: None,
            presumed: false,
            guessed: false,
            told_active: false,
            changes: 0,
            window_end: now + WINDOW,
            deadline: now,
            generation: 0,
        })
    }

    /// Makes a known agent inactive.
    fn leave(&mut self, agent: &AgentId, now: u64, tell: impl FnOnce(bool) -> Timestamp) -> Look {
        let mut entry = self.entry(agent, now);
        self.active -= usize::from(entry.state == State::Active);
        (entry.state, entry.via) = (State::Inactive, None);
        entry.change(now, tell);
        entry.deadline = entry.window_end.max(now);
        self.put(agent, entry)
    }

    /// Makes this the entry of the agent, and invalidates the one in the wheel.
    fn put(&mut self, agent: &AgentId, entry: Agent) -> Look {
        self.generations = self.generations.wrapping_add(1);
        let entry = Agent { generation: self.generations, ..entry };
        self.agents.insert(agent.clone(), entry);
        entry.look()
    }
}

impl Agent {
    /// Records a sign of life of an active agent. One over a handler with a short timeout takes nothing from one with a long timeout.
    fn heard(&mut self, via: Via, deadline: u64) {
        self.via = via;
        self.deadline = self.deadline.max(deadline);
    }

    /// Reports the agent's state to receivers, if it differs from the last reported one and the limit allows it.
    fn change(&mut self, now: u64, tell: impl FnOnce(bool) -> Timestamp) {
        if !self.is_untold() {
            return;
        }
        if now >= self.window_end {
            (self.changes, self.window_end) = (0, now + WINDOW);
        }
        if self.changes < MOST_CHANGES {
            self.changes += 1;
            self.told_active = self.state == State::Active;
            self.presumed = false;
            self.since = tell(self.told_active);
        }
    }

    /// Whether the state known to receivers is out of date.
    fn is_untold(&self) -> bool {
        match self.state {
            State::Active => !self.told_active,
            State::Inactive => self.told_active,
            State::Linked | State::Heard => false,
        }
    }

    /// The tick of the next possible action.
    fn look(&self) -> Look {
        let at = if self.is_untold() { self.deadline.min(self.window_end) } else { self.deadline };
        Look { at, generation: self.generation }
    }
}
