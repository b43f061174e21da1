//! Activity in a cluster: all nodes know which agents are active, and each change is published once.
//!
//! Every node learns of every sign of life: several times a second, nodes tell each other which agents they have heard. So every node
//! detects silence, and any node may fail. A key for each active agent in the shared store prevents duplicates: the node that creates the
//! key publishes that the agent is active, the node that removes it that the agent is inactive.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::Watcher;
use crate::engine::{Change, Revision, SharedStore, StoreError};
use crate::{Activity, AgentId, Timestamp};

/// The prefix of all keys; the agent id follows.
const PREFIX: &str = "active/";
/// The topic of signs of life.
const TOPIC: &str = "alive";
/// The interval at which nodes tell each other which agents they have heard.
const EVERY: Duration = Duration::from_millis(250);
/// The most bytes of one signal.
const MOST: usize = 48 << 10;
/// The number of changes that are settled concurrently.
const AT_ONCE: usize = 64;
/// The wait before an unreachable store is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a node waits for the one that heard an agent first to publish the change.
pub(super) const FOR_OTHERS: Duration = Duration::from_secs(1);
/// The period over which the nodes spread their checks of a silent agent.
const SPREAD: u64 = 500;
/// How long an agent whose link has closed may take to be heard elsewhere.
pub(super) const HOP: Duration = Duration::from_millis(500);

/// A sign of life to pass to other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Otherwise it was data.
    pub(super) ping: bool,
    /// The timeout of the handler that heard it.
    pub(super) timeout: Duration,
}

/// The reason for which an agent is inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It left, or its link ended.
    Left,
    /// It was not heard for the timeout.
    Silent,
}

/// A change that is not published yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at: Instant,
    active: bool,
    reason: Reason,
}

/// The knowledge that the nodes share.
pub(super) struct Together {
    store: Arc<dyn SharedStore>,
    /// Distinguishes this node's signals from those of others.
    node: String,
    /// The active agents of the cluster, and the revisions of their keys.
    roster: Mutex<HashMap<AgentId, Revision>>,
    heard: Mutex<HashMap<AgentId, Heard>>,
    pending: Mutex<HashMap<AgentId, Pending>>,
    changed: Notify,
}

impl Together {
    pub(super) fn new(store: Arc<dyn SharedStore>) -> Self {
        let node = std::collections::hash_map::RandomState::new().hash_one(0);
        Self {
            store,
            node: format!("{node:016x}"),
            roster: Mutex::default(),
            heard: Mutex::default(),
            pending: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Records a sign of life for the other nodes.
    pub(super) fn note(&self, agent: &AgentId, sign: Heard) {
        let mut heard = self.heard.lock();
        match heard.get_mut(agent) {
            Some(known) => {
                known.ping |= sign.ping;
                known.timeout = known.timeout.max(sign.timeout);
            }
            None => drop(heard.insert(agent.clone(), sign)),
        }
    }

    /// Publishes a change after this time, unless another node does or it is reverted.
    pub(super) fn change(&self, agent: &AgentId, active: bool, reason: Reason, after: Duration) {
        let pending = Pending { at: Instant::now() + after, active, reason };
        self.pending.lock().insert(agent.clone(), pending);
        self.changed.notify_one();
    }

    /// How long this node waits before it reports that an agent is silent; different on each node.
    pub(super) fn turn(&self, hash: u64) -> Duration {
        Duration::from_millis(hash % SPREAD)
    }

    /// Follows the other nodes and informs them. Never ends. Cancel safe.
    pub(super) async fn run(&self, watcher: &Watcher) {
        tokio::join!(self.tell(), self.listen(watcher), self.follow(watcher), self.settle(watcher));
    }

    async fn tell(&self) {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tick.tick().await;
            let heard = std::mem::take(&mut *self.heard.lock());
            for signal in signals(&self.node, heard) {
                self.store.tell(TOPIC, signal);
            }
        }
    }

    async fn listen(&self, watcher: &Watcher) {
        loop {
            let Ok(mut signals) = self.store.listen(TOPIC).await else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            while let Some(signal) = signals.recv().await {
                self.take(watcher, &signal);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn take(&self, watcher: &Watcher, signal: &[u8]) {
        let Ok(text) = std::str::from_utf8(signal) else { return };
        let mut lines = text.lines();
        if lines.next().is_none_or(|node| node == self.node) {
            return;
        }
        for (agent, sign) in lines.filter_map(read_sign) {
            match sign.ping {
                true => watcher.heard(&agent, sign.timeout),
                false => watcher.heard_data(&agent, sign.timeout),
            }
        }
    }

    async fn follow(&self, watcher: &Watcher) {
        loop {
            if let Ok(changes) = self.store.watch(PREFIX).await {
                self.follow_until_lost(watcher, changes).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn follow_until_lost(&self, watcher: &Watcher, mut changes: mpsc::Receiver<Change>) {
        let mut lost = false;
        while let Some(change) = changes.recv().await {
            match change {
                Change::Put(key, entry) => {
                    let Some(agent) = agent_of(&key) else { continue };
                    self.roster.lock().insert(agent.clone(), entry.revision);
                    if !self.is_pending(&agent, false) {
                        let (since, timeout) = read_entry(&entry.value);
                        watcher.is_active_elsewhere(&agent, since, timeout);
                    }
                }
                Change::Removed(key) => {
                    let Some(agent) = agent_of(&key) else { continue };
                    self.roster.lock().remove(&agent);
                    if !self.is_pending(&agent, true) {
                        watcher.is_inactive_elsewhere(&agent);
                    }
                }
                Change::Lost => lost = true,
                // Signs of life were lost with the connection: every agent gets one full timeout.
                Change::Synced if std::mem::take(&mut lost) => {
                    let agents: Vec<_> = self.roster.lock().keys().cloned().collect();
                    agents.iter().for_each(|agent| watcher.heard(agent, watcher.longest()));
                }
                Change::Synced => {}
            }
        }
    }

    /// Whether this node is about to publish that the agent is active or inactive.
    fn is_pending(&self, agent: &AgentId, active: bool) -> bool {
        self.pending.lock().get(agent).is_some_and(|pending| pending.active == active)
    }

    async fn settle(&self, watcher: &Watcher) {
        let mut settling = FuturesUnordered::new();
        let mut busy: HashSet<AgentId> = HashSet::new();
        loop {
            let next = loop {
                let (due, next) = self.due(&busy, AT_ONCE - settling.len());
                if due.is_empty() {
                    break next;
                }
                for (agent, pending) in due {
                    busy.insert(agent.clone());
                    settling.push(self.settle_one(watcher, agent, pending));
                }
            };
            tokio::select! {
                Some(agent) = settling.next() => drop(busy.remove(&agent)),
                () = self.changed.notified() => {}
                () = until(next) => {}
            }
        }
    }

    /// The changes that are due, and the time at which the next may be.
    fn due(
        &self,
        busy: &HashSet<AgentId>,
        most: usize,
    ) -> (Vec<(AgentId, Pending)>, Option<Instant>) {
        let (now, mut pending) = (Instant::now(), self.pending.lock());
        if most == 0 || pending.is_empty() {
            return (Vec::new(), None);
        }
        let is_due =
            |(agent, pending): &(&AgentId, &Pending)| pending.at <= now && !busy.contains(*agent);
        let due: Vec<_> =
            pending.iter().filter(is_due).map(|(agent, _)| agent.clone()).take(most).collect();
        let next = match due.is_empty() {
            true => pending.values().map(|pending| pending.at).filter(|at| *at > now).min(),
            false => None,
        };
        let take = |agent: AgentId| pending.remove(&agent).map(|pending| (agent, pending));
        (due.into_iter().filter_map(take).collect(), next)
    }

    async fn settle_one(&self, watcher: &Watcher, agent: AgentId, pending: Pending) -> AgentId {
        // It was heard meanwhile, or fell silent.
        if watcher.table.is_active(&agent) != pending.active {
            return agent;
        }
        let settled = match pending.active {
            true => self.settle_active(watcher, &agent).await,
            false => self.settle_inactive(watcher, &agent, pending.reason).await,
        };
        if let Err(StoreError::Unavailable(_)) = settled {
            let mut all = self.pending.lock();
            all.entry(agent.clone()).or_insert(Pending { at: Instant::now() + AGAIN, ..pending });
        }
        agent
    }

    async fn settle_active(&self, watcher: &Watcher, agent: &AgentId) -> Result<(), StoreError> {
        if self.roster.lock().contains_key(agent) {
            return Ok(());
        }
        let since = Timestamp::now();
        let value = written_entry(since, watcher.longest());
        let revision = self.store.put(&key_of(agent), value, Revision::ABSENT).await?;
        self.roster.lock().insert(agent.clone(), revision);
        watcher.bus.publish_activity(Activity::new(agent.clone(), true, since));
        Ok(())
    }

    async fn settle_inactive(
        &self,
        watcher: &Watcher,
        agent: &AgentId,
        reason: Reason,
    ) -> Result<(), StoreError> {
        let revision = self.roster.lock().get(agent).copied();
        match revision {
            Some(revision) => {
                self.store.remove(&key_of(agent), Some(revision)).await?;
                self.roster.lock().remove(agent);
            }
            // It never pinged, so it has no key: the node that it left publishes the change.
            None if reason == Reason::Left => {}
            None => return Ok(()),
        }
        watcher.bus.publish_activity(Activity::new(agent.clone(), false, Timestamp::now()));
        Ok(())
    }
}

/// The value of an agent's key: since when it is active, in microseconds, and the longest timeout of the handlers of the node that made
/// the key, in milliseconds.
fn written_entry(since: Timestamp, timeout: Duration) -> Bytes {
    format!("{} {}", since.as_micros(), timeout.as_millis()).into()
}

fn read_entry(value: &[u8]) -> (Timestamp, Duration) {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (micros, millis) = text.split_once(' ').unwrap_or((text, ""));
    let since = Timestamp::from_micros(micros.parse().unwrap_or(0));
    (since, Duration::from_millis(millis.parse().unwrap_or(0)))
}

fn key_of(agent: &AgentId) -> String {
    format!("{PREFIX}{agent}")
}

fn agent_of(key: &str) -> Option<AgentId> {
    AgentId::new(key.strip_prefix(PREFIX)?).ok()
}

/// Signs of life in the form other nodes read: the node on the first line, then one agent a line, `+7000 agent` for a ping and
/// `.7000 agent` for data, with the timeout in milliseconds.
fn signals(node: &str, heard: HashMap<AgentId, Heard>) -> Vec<Bytes> {
    let (mut signals, mut text) = (Vec::new(), String::new());
    for (agent, sign) in heard {
        if text.is_empty() {
            text.push_str(node);
        }
        let (mark, timeout) = (if sign.ping { '+' } else { '.' }, sign.timeout.as_millis());
        // Writing to a text cannot fail.
        let _ = write!(text, "\n{mark}{timeout} {agent}");
        if text.len() >= MOST {
            signals.push(Bytes::from(std::mem::take(&mut text)));
        }
    }
    if !text.is_empty() {
        signals.push(text.into());
    }
    signals
}

fn read_sign(line: &str) -> Option<(AgentId, Heard)> {
    let (mark, rest) = line.split_at_checked(1)?;
    let (timeout, agent) = rest.split_once(' ')?;
    let ping = match mark {
        "+" => true,
        "." => false,
        _ => return None,
    };
    let timeout = Duration::from_millis(timeout.parse().ok()?);
    Some((AgentId::new(agent).ok()?, Heard { ping, timeout }))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
