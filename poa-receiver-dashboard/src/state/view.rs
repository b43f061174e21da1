//! The row of an agent on the page.

use poa_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::read::{About, Block, Chain, Figure, System, Update};

/// The state of an agent, as far as its silence would be detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    /// It pings.
    Active,
    /// It stopped pinging, or said bye.
    Inactive,
    /// It has not pinged since this server was started or since it was inactive, or it never pings: its state is not
    /// known.
    #[default]
    Unknown,
}

/// One agent as the page shows it. Times are milliseconds since 1970, as in JavaScript.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct View {
    pub(crate) state: Condition,
    pub(crate) since: u64,
    /// The time of its last metric, or of its last change of state.
    pub(crate) seen: u64,
    pub(crate) live: Live,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<Box<About>>,
}

/// The figures that change continuously.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Live {
    #[serde(flatten)]
    pub(crate) system: System,
    #[serde(flatten)]
    pub(crate) chain: Chain,
    /// In milliseconds.
    pub(crate) latency: Figure,
    pub(crate) block: Block,
    pub(crate) pending: Figure,
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: Timestamp) -> u64 {
    time.as_micros() / 1000
}

impl View {
    /// An agent heard for the first time.
    pub(crate) fn new(at: Timestamp) -> Self {
        Self { since: millis(at), seen: millis(at), ..Self::default() }
    }

    /// Records that an inactive agent sent data: it is running, but whether it pings is not known yet. Returns whether
    /// its state changed.
    pub(crate) fn hear(&mut self, at: Timestamp) -> bool {
        self.state == Condition::Inactive && self.enter(Condition::Unknown, at)
    }

    /// Applies a metric of this time. Returns whether it contained the description of the agent.
    pub(crate) fn apply(&mut self, at: Timestamp, update: Update) -> bool {
        self.seen = self.seen.max(millis(at));
        let live = &mut self.live;
        match update {
            Update::About(about) => {
                self.about = Some(about);
                return true;
            }
            Update::Chain(chain) => live.chain = chain,
            Update::System(system) => live.system = system,
            Update::Latency(latency) => live.latency = Figure(Some(latency)),
            Update::Block(block) => live.block = block,
            Update::Pending(pending) => live.pending = Figure(Some(pending)),
            Update::Nothing => {}
        }
        false
    }

    /// Changes the state; false when it is in this state already.
    pub(crate) fn enter(&mut self, state: Condition, since: Timestamp) -> bool {
        if self.state == state {
            return false;
        }
        self.seen = self.seen.max(millis(since));
        (self.state, self.since) = (state, millis(since));
        true
    }

    /// The row as it is known after a restart: an agent that was active may have left meanwhile.
    pub(crate) fn after_restart(mut self, now: Timestamp) -> Self {
        if self.state == Condition::Active {
            (self.state, self.since) = (Condition::Unknown, millis(now));
        }
        self
    }
}
