//! Notices when agents fall silent.
//!
//! One structure and one task watch all agents, over all handlers. A ping writes one number; nothing is woken by it, and
//! nothing is moved. The task looks at an agent when its time may have come, finds its newer deadline, and puts it where that
//! falls due: about once per timeout for each agent, however often it pings.

mod journal;
mod link;
mod quiet;
mod table;
mod together;
mod wheel;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bus::Bus;
use crate::engine::SharedStore;
use crate::{Activity, AgentId, Relay, Sign, Timestamp};
pub(crate) use journal::Journal;
pub use link::Link;
use table::{Look, Table, Via};
use together::{FOR_OTHERS, HOP, Heard, Reason, Together};
use wheel::Wheel;

/// How exactly silence is noticed: this much late at most.
const TICK: Duration = Duration::from_millis(50);

/// A tick that comes so late says that the process did not run.
const PAUSE: Duration = Duration::from_millis(500);

/// So many agents of a link that is gone are told off before others get a turn.
const AT_ONCE: usize = 256;

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
    /// Ticks in which this process did not run.
    lost: AtomicU64,
    table: Table,
    journal: Option<Mutex<Journal>>,
    wheel: Mutex<Wheel>,
    /// Told when an agent is put into a wheel that was empty.
    filled: Notify,
    links: AtomicU32,
    left: Left,
    /// With an engine that spans machines, all nodes watch together.
    together: Option<Together>,
}

/// A link that is gone, with more agents than are told off in one go.
#[derive(Default)]
struct Left {
    links: Mutex<VecDeque<(HashSet<AgentId>, Via)>>,
    added: Notify,
}

impl Watcher {
    /// Calls an agent inactive `timeout` after its last sign of life.
    pub(crate) fn new(bus: Bus, timeout: Duration) -> Self {
        Self {
            bus,
            timeout,
            begin: Instant::now(),
            lost: AtomicU64::new(0),
            table: Table::default(),
            journal: None,
            wheel: Mutex::default(),
            filled: Notify::new(),
            links: AtomicU32::new(1),
            left: Left::default(),
            together: None,
        }
    }

    /// The same, which watches together with the nodes that share this store.
    pub(crate) fn sharing(self, store: Arc<dyn SharedStore>) -> Self {
        Self { together: Some(Together::new(store)), ..self }
    }

    /// The same, which remembers in this journal who is active. These agents were so before a restart: they have the time
    /// of one timeout to show that they still are.
    pub(crate) fn remembering(self, journal: Journal, active: Vec<AgentId>) -> Self {
        let deadline = self.deadline();
        for agent in active {
            let look = self.table.presume(&agent, deadline);
            self.watch(look, agent);
        }
        Self { journal: Some(Mutex::new(journal)), ..self }
    }

    fn ping(&self, agent: &AgentId, via: Via) {
        if let Some(together) = &self.together {
            together.note(agent, Heard::Ping);
        }
        let times = (self.now(), self.deadline());
        let look = self.table.ping(agent, via, times, |active| self.publish(agent, active));
        self.watch_if(look, agent);
    }

    /// Another node heard the agent. It also tells so, if that is news.
    fn heard(&self, agent: &AgentId) {
        let times = (self.now(), self.deadline());
        let publish = |active| self.publish_after(agent, active, Reason::Silent, FOR_OTHERS);
        let look = self.table.ping(agent, None, times, publish);
        self.watch_if(look, agent);
    }

    /// Another node got data of the agent.
    fn heard_data(&self, agent: &AgentId) {
        self.table.heard_data(agent, self.deadline());
    }

    /// Receivers were told by another node that the agent is active.
    fn is_active_elsewhere(&self, agent: &AgentId, since: Timestamp) {
        let look = self.table.told_active(agent, since, (self.now(), self.deadline()));
        self.watch_if(look, agent);
    }

    /// Receivers were told by another node that the agent is inactive.
    fn is_inactive_elsewhere(&self, agent: &AgentId) {
        let look = self.table.told_inactive(agent, self.now());
        self.watch_if(look, agent);
    }

    fn data(&self, agent: &AgentId, via: Via) {
        if let Some(together) = &self.together {
            together.note(agent, Heard::Data);
        }
        let look = self.table.data(agent, via, (self.now(), self.deadline()));
        self.watch_if(look, agent);
    }

    fn excuse(&self, agent: &AgentId, via: Via) {
        self.table.excuse(agent, via, self.deadline());
    }

    /// A number that no other link has.
    fn next_link(&self) -> Via {
        let next = || NonZeroU32::new(self.links.fetch_add(1, Relaxed));
        next().or_else(next)
    }

    /// The link over which these agents spoke is gone: those that spoke nowhere else since are inactive. A few at once; many in
    /// parts, so that others are served in between.
    fn all_gone(&self, agents: HashSet<AgentId>, via: Via) {
        if agents.len() <= AT_ONCE {
            agents.iter().for_each(|agent| self.gone(agent, via));
        } else {
            self.left.links.lock().push_back((agents, via));
            self.left.added.notify_one();
        }
    }

    fn gone(&self, agent: &AgentId, via: Via) {
        let publish = |active| self.publish_after(agent, active, Reason::Left, HOP);
        let look = self.table.gone(agent, via, self.now(), publish);
        self.watch_if(look, agent);
    }

    fn bye(&self, agent: &AgentId) {
        let look = self.table.bye(agent, self.now(), |active| self.publish(agent, active));
        self.watch_if(look, agent);
    }

    fn active(&self) -> usize {
        self.table.active()
    }

    /// Reports the silent, until it is dropped. Cancel safe.
    pub(crate) async fn run(&self) {
        tokio::join!(self.notice_silence(), self.let_links_go(), self.follow_others());
    }

    async fn follow_others(&self) {
        if let Some(together) = &self.together {
            together.run(self).await;
        }
    }

    async fn notice_silence(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last = std::time::Instant::now();
        loop {
            let filled = self.filled.notified();
            if self.wheel.lock().is_empty() {
                filled.await;
                last = std::time::Instant::now();
            }
            tick.tick().await;
            self.excuse_pause(last.elapsed());
            last = std::time::Instant::now();
            self.report_silent();
        }
    }

    /// A process that was stopped (by a signal, a suspended machine, a migration) heard no agent meanwhile. That time does not count.
    fn excuse_pause(&self, since_last: Duration) {
        if since_last >= PAUSE {
            self.lost.fetch_add(ticks(since_last - TICK), Relaxed);
        }
    }

    async fn let_links_go(&self) {
        loop {
            let added = self.left.added.notified();
            let Some((agents, via)) = self.left.links.lock().pop_front() else {
                added.await;
                continue;
            };
            for (n, agent) in agents.iter().enumerate() {
                self.gone(agent, via);
                if n % AT_ONCE == AT_ONCE - 1 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn report_silent(&self) {
        if let Some(journal) = &self.journal {
            journal.lock().tidy();
        }
        let now = self.now();
        let due = self.wheel.lock().advance(now);
        for (agent, generation) in due {
            let tell = |active| self.publish_silence(&agent, active);
            if let Some(look) = self.table.examine(&agent, generation, now, tell) {
                self.watch(look, agent);
            }
        }
    }

    /// Tells the receivers, and returns since when it is so. Runs under the lock of the agent's entry, so that they hear of changes
    /// in their order.
    fn publish(&self, agent: &AgentId, active: bool) -> Timestamp {
        self.publish_after(agent, active, Reason::Left, Duration::ZERO)
    }

    fn publish_silence(&self, agent: &AgentId, active: bool) -> Timestamp {
        let together = self.together.as_ref();
        let turn =
            together.map_or(Duration::ZERO, |together| together.turn(self.table.hash(agent)));
        self.publish_after(agent, active, Reason::Silent, turn)
    }

    /// In a cluster the change is told after this time, if it is still one that the other nodes have not told.
    fn publish_after(
        &self,
        agent: &AgentId,
        active: bool,
        reason: Reason,
        after: Duration,
    ) -> Timestamp {
        if let Some(together) = &self.together {
            together.change(agent, active, reason, after);
            return Timestamp::now();
        }
        let since = Timestamp::now();
        self.bus.publish_activity(Activity::new(agent.clone(), active, since));
        if let Some(journal) = &self.journal {
            journal.lock().note(agent, active);
        }
        since
    }

    fn watch_if(&self, look: Option<Look>, agent: &AgentId) {
        if let Some(look) = look {
            self.watch(look, agent.clone());
        }
    }

    fn watch(&self, look: Look, agent: AgentId) {
        let mut wheel = self.wheel.lock();
        if wheel.is_empty() {
            wheel.start_at(self.now());
            self.filled.notify_one();
        }
        wheel.insert(look.at, agent, look.generation);
    }

    /// The tick of this moment.
    fn now(&self) -> u64 {
        ticks(self.begin.elapsed()).saturating_sub(self.lost.load(Relaxed))
    }

    /// The first tick at which an agent that speaks now has been silent for too long.
    fn deadline(&self) -> u64 {
        let at = ticks(self.begin.elapsed() + self.timeout) + 1;
        at.saturating_sub(self.lost.load(Relaxed))
    }
}

/// How many whole ticks there are in this time.
fn ticks(time: Duration) -> u64 {
    (time.as_millis() / TICK.as_millis()) as u64
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_together;
