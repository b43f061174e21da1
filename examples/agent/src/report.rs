//! The summary of an agent's run.

use std::fmt;

use crate::{buffer, sender};

/// The fate of everything the agent measured: `measured == sent + rejected + overflowed + left`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Metrics measured, latencies included.
    pub measured: u64,
    /// Metrics acknowledged by the server.
    pub sent: u64,
    /// Metrics dropped because the server refuses them permanently.
    pub rejected: u64,
    /// Metrics dropped because the buffer was full.
    pub overflowed: u64,
    /// Metrics that were not sent before the time limit to flush.
    pub left: u64,
    /// Pings the server answered.
    pub pings: u64,
    /// The server has acknowledged that the agent left.
    pub said_bye: bool,
}

impl Report {
    pub(crate) const fn new(
        measured: buffer::Tally,
        sent: sender::Tally,
        left: u64,
        pings: u64,
    ) -> Self {
        Self {
            measured: measured.measured,
            sent: sent.sent,
            rejected: sent.rejected,
            overflowed: measured.overflowed,
            left: left + sent.unfinished,
            pings,
            said_bye: false,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} metrics measured: {} sent, {} refused by the server, {} dropped from the full buffer, {} left; {} pings; {}",
            self.measured,
            self.sent,
            self.rejected,
            self.overflowed,
            self.left,
            self.pings,
            if self.said_bye { "said bye" } else { "could not say bye" },
        )
    }
}
