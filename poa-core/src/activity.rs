//! Notices when agents fall silent.
//!
//! One structure and one task watch all agents, over all handlers. A ping writes one number; nothing is woken by it, and
//! nothing is moved. The task looks at an agent when its time may have come, finds its newer deadline, and puts it where that
//! falls due: about once per timeout for each agent, however often it pings.

mod journal;
mod link;
mod table;
mod wheel;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bus::Bus;
use crate::{Activity, AgentId, Relay, Sign, Timestamp};
pub(crate) use journal::Journal;
pub use link::Link;
use table::{Table, Via};
use wheel::Wheel;

/// How exactly silence is noticed: this much late at most.
const TICK: Duration = Duration::from_millis(50);

/// How long it is remembered that an agent is inactive, so that it is not said twice.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Watches agents for silence, for all handlers of a host. Cloning is cheap.
#[derive(Clone)]
pub struct ActivityMonitor(Watch);

#[derive(Clone)]
enum Watch {
    /// In this host.
    Here(Arc<Watcher>),
    /// In the host that this plugin belongs to.
    There(Arc<dyn Relay>),
}

impl ActivityMonitor {
    /// What is noticed here, this watcher is told.
    pub(crate) fn of(watcher: &Arc<Watcher>) -> Self {
        Self(Watch::Here(watcher.clone()))
    }

    /// What is noticed here, another host is told.
    pub(crate) fn relayed(relay: Arc<dyn Relay>) -> Self {
        Self(Watch::There(relay))
    }

    /// The agent is alive: starts its timer or restarts it. An agent not known to be active becomes active.
    pub fn ping(&self, agent: &AgentId) {
        self.ping_over(agent, None);
    }

    /// The agent sent data: restarts a timer that runs, but starts none.
    pub fn data(&self, agent: &AgentId) {
        self.data_over(agent, None);
    }

    /// The agent leaves: inactive at once, unless it is known to be so already.
    pub fn bye(&self, agent: &AgentId) {
        match &self.0 {
            Watch::Here(watcher) => watcher.bye(agent),
            Watch::There(relay) => relay.sign_of_life(agent, Sign::Bye),
        }
    }

    /// A new way to speak, for agents whose leaving is noticed by its end.
    ///
    /// In a plugin that belongs to another host, that end is noticed by nobody: the timers must do.
    #[must_use]
    pub fn link(&self) -> Link {
        Link::new(self.clone())
    }

    fn ping_over(&self, agent: &AgentId, via: Via) {
        match &self.0 {
            Watch::Here(watcher) => watcher.ping(agent, via),
            Watch::There(relay) => relay.sign_of_life(agent, Sign::Ping),
        }
    }

    fn data_over(&self, agent: &AgentId, via: Via) {
        match &self.0 {
            Watch::Here(watcher) => watcher.data(agent, via),
            Watch::There(relay) => relay.sign_of_life(agent, Sign::Data),
        }
    }

    /// How many agents' silence would be noticed.
    #[must_use]
    pub fn active(&self) -> usize {
        match &self.0 {
            Watch::Here(watcher) => watcher.active(),
            Watch::There(relay) => relay.active(),
        }
    }
}

impl ActivityMonitor {
    /// The agents that receivers were told are active, the first to become so first.
    pub(crate) fn active_agents(&self) -> Vec<Activity> {
        match &self.0 {
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

/// Notices silence.
pub(crate) struct Watcher {
    bus: Bus,
    timeout: Duration,
    begin: Instant,
    table: Table,
    journal: Option<Mutex<Journal>>,
    wheel: Mutex<Wheel>,
    /// Told when an agent is put into a wheel that was empty.
    filled: Notify,
    links: AtomicU32,
}

impl Watcher {
    /// Calls an agent inactive `timeout` after its last sign of life.
    pub(crate) fn new(bus: Bus, timeout: Duration) -> Self {
        Self {
            bus,
            timeout,
            begin: Instant::now(),
            table: Table::default(),
            journal: None,
            wheel: Mutex::default(),
            filled: Notify::new(),
            links: AtomicU32::new(1),
        }
    }

    /// The same, which remembers in this journal who is active. These agents were so before a restart: they have the time
    /// of one timeout to show that they still are.
    pub(crate) fn remembering(self, journal: Journal, active: Vec<AgentId>) -> Self {
        let deadline = self.ticks_until(self.timeout);
        for agent in active {
            let generation = self.table.presume(&agent, deadline);
            self.watch(deadline, agent, generation);
        }
        Self { journal: Some(Mutex::new(journal)), ..self }
    }

    fn ping(&self, agent: &AgentId, via: Via) {
        let deadline = self.ticks_until(self.timeout);
        let started = self.table.ping(agent, via, deadline, || self.publish(agent, true));
        if let Some(generation) = started {
            self.watch(deadline, agent.clone(), generation);
        }
    }

    fn data(&self, agent: &AgentId, via: Via) {
        self.table.data(agent, via, self.ticks_until(self.timeout));
    }

    fn excuse(&self, agent: &AgentId, via: Via) {
        self.table.excuse(agent, via, self.ticks_until(self.timeout));
    }

    /// A number that no other link has.
    fn next_link(&self) -> Via {
        let next = || NonZeroU32::new(self.links.fetch_add(1, Relaxed));
        next().or_else(next)
    }

    /// The link over which the agent spoke is gone: inactive at once, unless it spoke elsewhere since.
    fn gone(&self, agent: &AgentId, via: Via) {
        let forget_at = self.ticks_until(REMEMBERED);
        let left = self.table.gone(agent, via, forget_at, || self.publish(agent, false));
        if let Some(generation) = left {
            self.watch(forget_at, agent.clone(), generation);
        }
    }

    fn bye(&self, agent: &AgentId) {
        let forget_at = self.ticks_until(REMEMBERED);
        let left = self.table.bye(agent, forget_at, || self.publish(agent, false));
        if let Some(generation) = left {
            self.watch(forget_at, agent.clone(), generation);
        }
    }

    fn active(&self) -> usize {
        self.table.active()
    }

    /// Reports the silent, for ever. Cancel safe.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let filled = self.filled.notified();
            if self.wheel.lock().is_empty() {
                filled.await;
            }
            tick.tick().await;
            self.report_silent();
        }
    }

    fn report_silent(&self) {
        if let Some(journal) = &self.journal {
            journal.lock().tidy();
        }
        let now = self.tick_of(Instant::now());
        let forget_at = self.ticks_until(REMEMBERED);
        let due = self.wheel.lock().advance(now);
        for (agent, generation) in due {
            let silent = || self.publish(&agent, false);
            if let Some(at) = self.table.examine(&agent, generation, now, forget_at, silent) {
                self.watch(at, agent, generation);
            }
        }
    }

    /// Tells the receivers, and returns since when it is so. Runs under the lock of the agent's entry, so that they hear of changes
    /// in their order.
    fn publish(&self, agent: &AgentId, active: bool) -> Timestamp {
        let since = Timestamp::now();
        self.bus.publish_activity(Activity::new(agent.clone(), active, since));
        if let Some(journal) = &self.journal {
            journal.lock().note(agent, active);
        }
        since
    }

    fn watch(&self, tick: u64, agent: AgentId, generation: u32) {
        let mut wheel = self.wheel.lock();
        if wheel.is_empty() {
            wheel.start_at(self.tick_of(Instant::now()));
            self.filled.notify_one();
        }
        wheel.insert(tick, agent, generation);
    }

    fn tick_of(&self, time: Instant) -> u64 {
        (time - self.begin).as_millis() as u64 / TICK.as_millis() as u64
    }

    /// The first tick that lies at least this long ahead.
    fn ticks_until(&self, duration: Duration) -> u64 {
        self.tick_of(Instant::now() + duration) + 1
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
