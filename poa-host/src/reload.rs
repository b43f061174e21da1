//! The results of reloads.

use poa_core::Timestamp;
use serde::Serialize;

use crate::Plan;

/// The result of a reload.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// The kind of result.
    pub result: ReloadResult,
    /// The time at which it ended.
    pub at: Timestamp,
    /// Its duration, in milliseconds.
    pub took_ms: u64,
    /// The reason why not everything was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The steps of the reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// The kind of a reload's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReloadResult {
    /// The new configuration is running.
    Applied,
    /// The configuration is the running one; nothing was changed.
    Unchanged,
    /// The configuration has problems; nothing was changed.
    Refused,
    /// The new configuration does not start; the old one keeps running.
    RolledBack,
    /// A signal to stop ended it; steps that were completed by then are not undone.
    Interrupted,
}

impl ReloadResult {
    /// All of them, by their names in metrics and `/status`.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Applied, "applied"),
        (Self::Unchanged, "unchanged"),
        (Self::Refused, "refused"),
        (Self::RolledBack, "rolled_back"),
        (Self::Interrupted, "interrupted"),
    ];

    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

/// The last reload, and the number of reloads of each kind.
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

    /// The number of each result, by name.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ReloadResult::ALL.iter().zip(self.counts).map(|((_, name), count)| (*name, count))
    }
}
