//! Notices when agents fall silent.
//!
//! One structure and one task watch all agents, over all handlers. A ping writes one number; nothing is woken by it, and
//! nothing is moved. The task looks at an agent when its time may have come, finds its newer deadline, and puts it where that
//! falls due: about once per timeout for each agent, however often it pings.

mod journal;
mod table;
mod wheel;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bus::Bus;
use crate::{Activity, AgentId, Relay, Sign, Timestamp};
pub(crate) use journal::Journal;
use table::Table;
use wheel::Wheel;

/// How exactly silence is noticed: this much late at most.
const TICK: Duration = Duration::from_millis(50);

/// How long it is remembered that an agent is inactive, so that it is not said twice.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Watches agents for silence, for all handlers of a host. Cloning is cheap.
#[derive(Clone)]
pub struct ActivityMonitor(Arc<Inner>);

struct Inner {
    bus: Arc<Bus>,
    timeout: Duration,
    begin: Instant,
    table: Table,
    journal: Option<Mutex<Journal>>,
    wheel: Mutex<Wheel>,
    /// Told when an agent is put into a wheel that was empty.
    filled: Notify,
}

impl ActivityMonitor {
    /// A monitor that calls an agent inactive `timeout` after its last sign of life.
    pub(crate) fn new(bus: Arc<Bus>, timeout: Duration) -> Self {
        Self::with(bus, timeout, None)
    }

    /// The same, which remembers in this journal who is active. These agents were so before a restart: they have the time
    /// of one timeout to show that they still are.
    pub(crate) fn remembering(
        bus: Arc<Bus>,
        timeout: Duration,
        journal: Journal,
        active: Vec<AgentId>,
    ) -> Self {
        let monitor = Self::with(bus, timeout, Some(journal));
        let deadline = monitor.ticks_until(timeout);
        for agent in active {
            let generation = monitor.0.table.presume(&agent, deadline);
            monitor.watch(deadline, agent, generation);
        }
        monitor
    }

    fn with(bus: Arc<Bus>, timeout: Duration, journal: Option<Journal>) -> Self {
        Self(Arc::new(Inner {
            bus,
            timeout,
            begin: Instant::now(),
            table: Table::default(),
            journal: journal.map(Mutex::new),
            wheel: Mutex::default(),
            filled: Notify::new(),
        }))
    }

    /// The agent is alive: starts its timer or restarts it. An agent not known to be active becomes active.
    pub fn ping(&self, agent: &AgentId) {
        if let Some(host) = self.0.bus.relay() {
            return host.sign_of_life(agent, Sign::Ping);
        }
        let deadline = self.ticks_until(self.0.timeout);
        let started = self.0.table.ping(agent, deadline, || self.publish(agent, true));
        if let Some(generation) = started {
            self.watch(deadline, agent.clone(), generation);
        }
    }

    /// The agent sent data: restarts a timer that runs, but starts none.
    pub fn data(&self, agent: &AgentId) {
        if let Some(host) = self.0.bus.relay() {
            return host.sign_of_life(agent, Sign::Data);
        }
        self.0.table.data(agent, self.ticks_until(self.0.timeout));
    }

    /// The agent leaves: inactive at once, unless it is known to be so already.
    pub fn bye(&self, agent: &AgentId) {
        if let Some(host) = self.0.bus.relay() {
            return host.sign_of_life(agent, Sign::Bye);
        }
        let forget_at = self.ticks_until(REMEMBERED);
        let left = self.0.table.bye(agent, forget_at, || self.publish(agent, false));
        if let Some(generation) = left {
            self.watch(forget_at, agent.clone(), generation);
        }
    }

    /// How many agents' silence would be noticed.
    #[must_use]
    pub fn active(&self) -> usize {
        self.0.bus.relay().map_or_else(|| self.0.table.active(), Relay::active)
    }

    /// Reports the silent, for ever. Cancel safe.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let filled = self.0.filled.notified();
            if self.0.wheel.lock().is_empty() {
                filled.await;
            }
            tick.tick().await;
            self.report_silent();
        }
    }

    fn report_silent(&self) {
        if let Some(journal) = &self.0.journal {
            journal.lock().tidy();
        }
        let now = self.tick_of(Instant::now());
        let forget_at = self.ticks_until(REMEMBERED);
        let due = self.0.wheel.lock().advance(now);
        for (agent, generation) in due {
            let silent = || self.publish(&agent, false);
            if let Some(at) = self.0.table.examine(&agent, generation, now, forget_at, silent) {
                self.watch(at, agent, generation);
            }
        }
    }

    /// Tells the receivers. Runs under the lock of the agent's entry, so that they hear of changes in their order.
    fn publish(&self, agent: &AgentId, active: bool) {
        self.0.bus.publish_activity(Activity::new(agent.clone(), active, Timestamp::now()));
        if let Some(journal) = &self.0.journal {
            journal.lock().note(agent, active);
        }
    }

    fn watch(&self, tick: u64, agent: AgentId, generation: u32) {
        let mut wheel = self.0.wheel.lock();
        if wheel.is_empty() {
            wheel.start_at(self.tick_of(Instant::now()));
            self.0.filled.notify_one();
        }
        wheel.insert(tick, agent, generation);
    }

    fn tick_of(&self, time: Instant) -> u64 {
        (time - self.0.begin).as_millis() as u64 / TICK.as_millis() as u64
    }

    /// The first tick that lies at least this long ahead.
    fn ticks_until(&self, duration: Duration) -> u64 {
        self.tick_of(Instant::now() + duration) + 1
    }
}

impl fmt::Debug for ActivityMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivityMonitor({} active)", self.active())
    }
}

#[cfg(test)]
mod tests;
