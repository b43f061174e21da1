//! The results of reloads.

use poa_core::Timestamp;
use serde::Serialize;

use crate::Plan;

/// The result of a reload.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// How it ended.
    pub result: ReloadResult,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The reason why not everything was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The steps of the reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReloadResult {
    /// The new configuration runs.
    Applied,
    /// The configuration is the one that runs; nothing was touched.
    Unchanged,
    /// The configuration has problems; nothing was touched.
    Refused,
    /// The new configuration does not start; the old one runs on.
    RolledBack,
}

impl ReloadResult {
    /// All of them, as they are called in metrics and `/status`.
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::Applied, "applied"),
        (Self::Unchanged, "unchanged"),
        (Self::Refused, "refused"),
        (Self::RolledBack, "rolled_back"),
    ];

    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

/// The last reload, and how many there were of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) last: Option<Reloaded>,
    counts: [u64; 4],
}

impl Reloads {
    pub(crate) fn add(&mut self, reloaded: Reloaded) {
        let kinds = ReloadResult::ALL.iter().zip(&mut self.counts);
        kinds.filter(|((kind, _), _)| *kind == reloaded.result).for_each(|(_, count)| *count += 1);
        self.last = Some(reloaded);
    }

    /// How many ended in each way, by name.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ReloadResult::ALL.iter().zip(self.counts).map(|((_, name), count)| (*name, count))
    }
}
