//! Detects agents that fall silent.
//!
//! One structure and one task watch all agents of all handlers. A ping writes one number; it wakes no task and moves no entry. The
//! task looks at an agent when its deadline may have passed, finds the newer deadline, and files the agent under that: about once per
//! timeout for each agent, however often it pings.

mod journal;
mod link;
mod monitor;
mod quiet;
mod table;
mod together;
mod wheel;

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bus::Bus;
use crate::engine::SharedStore;
use crate::{Activity, AgentId, Timestamp};
pub(crate) use journal::Journal;
pub use link::Link;
pub use monitor::ActivityMonitor;
use table::{Look, Table, Via};
use together::{FOR_OTHERS, HOP, Heard, Reason, Together};
use wheel::Wheel;

/// The precision with which silence is detected: it is reported at most this late.
const TICK: Duration = Duration::from_millis(50);

/// A tick that is this late means that the process did not run.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of agents of a closed link that are reported inactive before other work gets a turn.
const AT_ONCE: usize = 256;

/// How long an agent's inactivity is remembered, so that it is not reported twice.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Detects silence.
pub(crate) struct Watcher {
    bus: Bus,
    /// The timeout of handlers without one of their own.
    timeout: Duration,
    /// The longest timeout of any handler, in milliseconds: for agents of which it is not known over which handler they were heard.
    longest: AtomicU64,
    begin: Instant,
    /// The ticks in which this process did not run.
    lost: AtomicU64,
    table: Table,
    journal: Option<Mutex<Journal>>,
    wheel: Mutex<Wheel>,
    /// Notified when an agent is put into an empty wheel.
    filled: Notify,
    links: AtomicU32,
    left: Left,
    /// With an engine that spans machines, all nodes watch the agents together.
    together: Option<Together>,
}

/// A closed link with more agents than are reported in one turn.
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
            longest: AtomicU64::new(millis(timeout)),
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

    /// The same watcher, which cooperates with the nodes that share this store.
    pub(crate) fn sharing(self, store: Arc<dyn SharedStore>) -> Self {
        Self { together: Some(Together::new(store)), ..self }
    }

    /// The same watcher, which records active agents in this journal. The given agents were active before a restart: each has one
    /// timeout to send a sign of life.
    pub(crate) fn remembering(self, journal: Journal, active: Vec<AgentId>) -> Self {
        let deadline = self.deadline(self.longest());
        for agent in active {
            let look = self.table.presume(&agent, deadline);
            self.watch(look, agent);
        }
        Self { journal: Some(Mutex::new(journal)), ..self }
    }

    /// A handler with this timeout is about to report agents.
    pub(crate) fn expect_timeout(&self, timeout: Duration) {
        self.longest.fetch_max(millis(timeout), Relaxed);
    }

    fn ping(&self, agent: &AgentId, via: Via, timeout: Option<Duration>) {
        let timeout = timeout.unwrap_or(self.timeout);
        if let Some(together) = &self.together {
            together.note(agent, Heard { ping: true, timeout });
        }
        let times = self.now_and_deadline(timeout);
        let look = self.table.ping(agent, via, times, |active| self.publish(agent, active));
        self.watch_if(look, agent);
    }

    /// Another node heard the agent. If that is a change, that node publishes it too.
    fn heard(&self, agent: &AgentId, timeout: Duration) {
        let times = self.now_and_deadline(timeout);
        let publish = |active| self.publish_after(agent, active, Reason::Silent, FOR_OTHERS);
        let look = self.table.ping(agent, None, times, publish);
        self.watch_if(look, agent);
    }

    /// Another node received data of the agent.
    fn heard_data(&self, agent: &AgentId, timeout: Duration) {
        self.table.heard_data(agent, self.deadline(timeout));
    }

    /// Another node told receivers that the agent is active.
    fn is_active_elsewhere(&self, agent: &AgentId, since: Timestamp, timeout: Duration) {
        let deadline = self.deadline(timeout.max(self.longest()));
        let look = self.table.told_active(agent, since, (self.now(), deadline));
        self.watch_if(look, agent);
    }

    /// Another node told receivers that the agent is inactive.
    fn is_inactive_elsewhere(&self, agent: &AgentId) {
        let look = self.table.told_inactive(agent, self.now());
        self.watch_if(look, agent);
    }

    fn data(&self, agent: &AgentId, via: Via, timeout: Option<Duration>) {
        let timeout = timeout.unwrap_or(self.timeout);
        if let Some(together) = &self.together {
            together.note(agent, Heard { ping: false, timeout });
        }
        let look = self.table.data(agent, via, self.now_and_deadline(timeout));
        self.watch_if(look, agent);
    }

    fn excuse(&self, agent: &AgentId, via: Via, timeout: Option<Duration>) {
        self.table.excuse(agent, via, self.deadline(timeout.unwrap_or(self.timeout)));
    }

    /// A number that no other link has.
    fn next_link(&self) -> Via {
        let next = || NonZeroU32::new(self.links.fetch_add(1, Relaxed));
        next().or_else(next)
    }

    /// The link is closed: those of its agents that have used no other link since are inactive. Few agents are reported at once; many
    /// are reported in parts, so that other work proceeds in between.
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

    /// Reports silent agents until dropped. Cancel safe.
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

    /// A process that was stopped (by a signal, a suspended machine, a migration) received nothing meanwhile. That time does not
    /// count as silence.
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

    /// Tells the receivers, and returns the time of the change. Runs under the lock of the agent's entry, so that receivers see its
    /// changes in order.
    fn publish(&self, agent: &AgentId, active: bool) -> Timestamp {
        self.publish_after(agent, active, Reason::Left, Duration::ZERO)
    }

    fn publish_silence(&self, agent: &AgentId, active: bool) -> Timestamp {
        let together = self.together.as_ref();
        let turn =
            together.map_or(Duration::ZERO, |together| together.turn(self.table.hash(agent)));
        self.publish_after(agent, active, Reason::Silent, turn)
    }

    /// In a cluster the change is published after this time, if it is still true and no other node has published it.
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

    /// The current tick.
    fn now(&self) -> u64 {
        ticks(self.begin.elapsed()).saturating_sub(self.lost.load(Relaxed))
    }

    /// The first tick at which an agent that is heard now has been silent for too long.
    fn deadline(&self, timeout: Duration) -> u64 {
        self.now_and_deadline(timeout).1
    }

    /// Both by one look at the clock.
    fn now_and_deadline(&self, timeout: Duration) -> (u64, u64) {
        let (elapsed, lost) = (self.begin.elapsed(), self.lost.load(Relaxed));
        let deadline = ticks(elapsed.saturating_add(timeout)) + 1;
        (ticks(elapsed).saturating_sub(lost), deadline.saturating_sub(lost))
    }

    fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Relaxed))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The number of whole ticks in this time.
fn ticks(time: Duration) -> u64 {
    (time.as_millis() / TICK.as_millis()) as u64
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_together;
