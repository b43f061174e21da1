//! How a server ended.

use poa_core::StopReport;

use crate::Signal;

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was told to stop, and this is what it had to leave.
    Stopped(StopReport),
    /// It was told twice, and left everything.
    Aborted(Signal),
}

impl Outcome {
    /// What a program that ends so returns: 0 when nothing was left, 3 when messages or plugins were, 130 or 143 when a
    /// second signal ended it at once.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped(report) if report.is_clean() => 0,
            Self::Stopped(_) => 3,
            Self::Aborted(Signal::Interrupt) => 130,
            Self::Aborted(_) => 143,
        }
    }
}

/// Tells what a stop had to leave.
pub(crate) fn log(report: &StopReport) {
    for plugin in &report.abandoned {
        tracing::error!(plugin, "did not stop in time and was abandoned");
    }
    for (receiver, messages) in &report.undelivered {
        tracing::error!(receiver, messages, "messages were left undelivered");
    }
    if report.is_clean() {
        tracing::info!("stopped; every message was delivered");
    }
}
