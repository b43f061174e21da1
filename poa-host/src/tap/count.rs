//! Counts of messages per agent and receiver, kept while a client watches.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use poa_core::{AgentId, Message};
use serde::Serialize;
use tokio::time::Instant;

/// The interval of the counts.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// The most agents of a receiver that are counted separately; further ones in the same second are counted together.
const MAX_AGENTS: usize = 4096;
/// The number of agents that are reported.
const SHOWN: usize = 50;

/// Counts since the last report.
#[derive(Debug)]
pub(super) struct Counting {
    since: Instant,
    receivers: HashMap<String, Counts>,
}

impl Default for Counting {
    fn default() -> Self {
        Self { since: Instant::now(), receivers: HashMap::new() }
    }
}

/// The messages that one receiver got.
#[derive(Debug, Default)]
struct Counts {
    all: Sum,
    agents: HashMap<AgentId, Sum>,
    /// The agents beyond those that are counted separately.
    others: Sum,
}

impl Counts {
    fn add(&mut self, message: &Message) {
        self.all.add(message);
        if let Some(sum) = self.agents.get_mut(message.agent_id()) {
            sum.add(message);
        } else if self.agents.len() < MAX_AGENTS {
            self.agents.entry(message.agent_id().clone()).or_default().add(message);
        } else {
            self.others.add(message);
        }
    }
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Sum {
    messages: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.payload().bytes().len() as u64;
    }
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Serialize)]
struct Told<'a> {
    seconds: f64,
    receivers: Vec<Named<'a>>,
    /// The agents that sent most, in this order.
    agents: Vec<Named<'a>>,
    /// The number of counted agents.
    known_agents: usize,
    /// Agents beyond those that are counted separately.
    others: Sum,
}

impl Counting {
    pub(super) fn add(&mut self, receiver: &str, batch: &[Message]) {
        // The name is copied only the first time.
        if let Some(counts) = self.receivers.get_mut(receiver) {
            batch.iter().for_each(|message| counts.add(message));
        } else {
            self.receivers.insert(receiver.to_owned(), Counts::default());
            self.add(receiver, batch);
        }
    }

    /// The counts as a line, if the interval is over; then starts again.
    pub(super) fn take(&mut self, now: Instant) -> Option<Bytes> {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < EVERY / 2 {
            return None;
        }
        let line = self.line(elapsed);
        *self = Self { since: now, ..Self::default() };
        line
    }

    fn line(&self, elapsed: Duration) -> Option<Bytes> {
        let named = |(name, sum)| Named { name, sum };
        let receivers = self.receivers.iter();
        let mut receivers: Vec<_> =
            receivers.map(|(name, counts)| named((name.as_str(), counts.all))).collect();
        receivers.sort_by(|a, b| a.name.cmp(b.name));
        let agents = self.agents();
        let known_agents = agents.len();
        let mut agents: Vec<_> = agents.into_iter().map(named).collect();
        agents.sort_by(|a, b| (b.sum.messages, a.name).cmp(&(a.sum.messages, b.name)));
        agents.truncate(SHOWN);
        let others = self.receivers.values().map(|counts| counts.others);
        let others = others.max_by_key(|sum| sum.messages).unwrap_or_default();
        let seconds = elapsed.as_secs_f64();
        let told = Told { seconds, receivers, agents, known_agents, others };
        let mut line = serde_json::to_vec(&told).ok()?;
        line.push(b'\n');
        Some(line.into())
    }

    /// Each agent by the receiver that got most of its messages: several receivers get the same message.
    fn agents(&self) -> HashMap<&str, Sum> {
        let mut most: HashMap<&str, Sum> = HashMap::new();
        for (agent, sum) in self.receivers.values().flat_map(|counts| &counts.agents) {
            let seen = most.entry(agent.as_str()).or_default();
            if sum.messages > seen.messages {
                *seen = *sum;
            }
        }
        most
    }
}
