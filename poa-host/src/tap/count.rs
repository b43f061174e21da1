//! Counts of messages per agent and receiver, kept while a client watches.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use poa_core::{AgentId, Message};
use serde::Serialize;
use tokio::time::Instant;

/// The interval of the counts.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// The most agents that are counted separately; further ones in the same second are counted together.
const MAX_AGENTS: usize = 4096;
/// The number of agents that are reported.
const SHOWN: usize = 50;

/// Counts since the last report.
#[derive(Debug)]
pub(super) struct Counting {
    since: Instant,
    receivers: HashMap<String, Sum>,
    /// Each agent by the receiver that got most of its messages: several receivers get the same
    /// message.
    agents: HashMap<AgentId, HashMap<String, Sum>>,
    others: Sum,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            receivers: HashMap::new(),
            agents: HashMap::new(),
            others: Sum::default(),
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
        for message in batch {
            entry(&mut self.receivers, receiver).add(message);
            if let Some(seen) = self.agents.get_mut(message.agent_id()) {
                entry(seen, receiver).add(message);
            } else if self.agents.len() < MAX_AGENTS {
                let seen = self.agents.entry(message.agent_id().clone()).or_default();
                entry(seen, receiver).add(message);
            } else {
                self.others.add(message);
            }
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
        let most = |seen: &HashMap<String, Sum>| {
            seen.values().copied().max_by_key(|sum| sum.messages).unwrap_or_default()
        };
        let named = |(name, sum)| Named { name, sum };
        let mut receivers: Vec<_> =
            self.receivers.iter().map(|(name, sum)| named((name.as_str(), *sum))).collect();
        receivers.sort_by(|a, b| a.name.cmp(b.name));
        let mut agents: Vec<_> =
            self.agents.iter().map(|(agent, seen)| named((agent.as_str(), most(seen)))).collect();
        agents.sort_by(|a, b| (b.sum.messages, a.name).cmp(&(a.sum.messages, b.name)));
        agents.truncate(SHOWN);
        let told = Told {
            seconds: elapsed.as_secs_f64(),
            receivers,
            agents,
            known_agents: self.agents.len(),
            others: self.others,
        };
        let mut line = serde_json::to_vec(&told).ok()?;
        line.push(b'\n');
        Some(line.into())
    }
}

/// The sum under a name, which is copied only the first time.
fn entry<'m>(sums: &'m mut HashMap<String, Sum>, name: &str) -> &'m mut Sum {
    if !sums.contains_key(name) {
        sums.insert(name.to_owned(), Sum::default());
    }
    sums.entry(name.to_owned()).or_default()
}
