use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Duration, Size};

/// The size of a receiver's batches, and how long the first message of a batch waits for others.
///
/// ```
/// use std::time::Duration;
/// use poa_core::{BatchLimits, ReceiverOptions};
///
/// // For a store that is fast with large transactions: wait longer, and take more at once.
/// let options = ReceiverOptions::subscribe(["readings"]).batch(10_000, Duration::from_millis(250));
///
/// // The same, as an operator writes it.
/// let text = r#"{ "size": 10000, "linger": "250ms" }"#;
/// assert_eq!(options.batch, serde_json::from_str::<BatchLimits>(text)?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BatchLimits {
    /// The most messages in a batch.
    #[schemars(range(min = 1))]
    pub size: usize,
    /// The most bytes in a batch; a larger message is a batch of its own.
    pub bytes: Size,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { size: 1000, bytes: Size::bytes(4 << 20), linger: Duration::from_millis(20) }
    }
}

/// The limits of a receiver's backlog.
///
/// ```
/// use poa_core::{Backlog, ReceiverOptions, WhenFull, config::Size};
///
/// // A dashboard shows the present: old messages are skipped, and agents are never refused because of it.
/// let options = ReceiverOptions::subscribe(["readings"]).backlog(64 << 20, WhenFull::Skip);
/// assert_eq!(options.backlog.max_bytes, Some(Size::bytes(64 << 20)));
///
/// // A store without a limit of its own may take half of the disk.
/// let store = Backlog::default().resolved(Some(100 << 30));
/// assert_eq!(store.max_bytes, Some(Size::bytes(50 << 30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Backlog {
    /// The most bytes that may wait for this receiver. Default: with the log engine half the disk space available to the log, which
    /// is the free space plus the size of the log at the start; with the memory engine 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// How long a message may wait for this receiver before it is delivered. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// The most bytes of the log that may be kept on the disk because of this receiver: everything after the oldest message that it
    /// has not confirmed, including messages for other receivers. Default: half the disk space available to the log, or `max_bytes`
    /// if that is more. Not used with the memory engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_log: Option<Size>,
    /// The action when one of the three limits is reached.
    pub when_full: WhenFull,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { max_bytes: None, max_age: None, max_log: None, when_full: WhenFull::Refuse }
    }
}

impl Backlog {
    /// The limit in memory if none is configured.
    const IN_MEMORY: Size = Size::bytes(64 << 20);

    /// The same limits with the default for every absent size; `disk` is the disk space available to the log, if there is a log.
    #[must_use]
    pub fn resolved(self, disk: Option<u64>) -> Self {
        let share = disk.map(|disk| Size::bytes(disk / 2));
        let max_bytes = self.max_bytes.or(share).unwrap_or(Self::IN_MEMORY);
        let max_log = share.map(|share| self.max_log.unwrap_or(share.max(max_bytes)));
        Self { max_bytes: Some(max_bytes), max_log, ..self }
    }
}

/// The action when the backlog of a receiver is full.
///
/// See [`Backlog`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// New messages for this receiver are refused, so that agents keep them, until it has caught up. At `max_log` all new messages
    /// are refused, because each of them would take more of the disk.
    Refuse,
    /// This receiver skips its oldest messages, counted; the others are not affected.
    Skip,
    /// The oldest messages of this receiver become dead letters, to be replayed later; other receivers are not affected. New
    /// messages are refused only while dead letters cannot be kept as fast as they arise.
    DeadLetter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_set_by_the_disk_or_the_configuration() {
        let bounds = |backlog: Backlog, disk| {
            let found = backlog.resolved(disk);
            (found.max_bytes.map(Size::get), found.max_log.map(Size::get))
        };
        let unset = Backlog::default();
        assert_eq!(bounds(unset, Some(1000)), (Some(500), Some(500)));
        assert_eq!(bounds(unset, None), (Some(64 << 20), None));
        let small = Backlog { max_bytes: Some(Size::bytes(10)), ..unset };
        assert_eq!(bounds(small, Some(1000)), (Some(10), Some(500)));
        let large = Backlog { max_bytes: Some(Size::bytes(900)), ..unset };
        assert_eq!(bounds(large, Some(1000)), (Some(900), Some(900)));
        let both = Backlog { max_log: Some(Size::bytes(20)), ..large };
        assert_eq!(bounds(both, Some(1000)), (Some(900), Some(20)));
    }
}
