//! The outcome of a server's run.

use poa_core::StopReport;

use crate::Signal;

/// The outcome of a server's run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was told to stop.
    Stopped {
        /// The messages and plugins that the stop left behind.
        report: StopReport,
        /// The number of lost messages. With a log on the disk none are lost, unless it could not be written: undelivered messages
        /// are delivered after the next start.
        lost: u64,
    },
    /// It was told to stop twice, and abandoned everything.
    Aborted(Signal),
}

impl Outcome {
    pub(crate) fn stopped(report: StopReport, durable: bool) -> Self {
        let left = report.undelivered.iter().map(|(_, messages)| messages).sum();
        let lost = report.lost + if durable { 0 } else { left };
        Self::Stopped { report, lost }
    }

    pub(crate) fn nothing_left() -> Self {
        Self::Stopped { report: StopReport::default(), lost: 0 }
    }

    /// The exit code of a program that ends this way: 0 if nothing was lost and every plugin stopped, 3 if messages were lost or a
    /// plugin did not stop in time and was abandoned, 130 or 143 if a second signal ended it immediately.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped { lost: 0, report } if report.abandoned.is_empty() => 0,
            Self::Stopped { .. } => 3,
            Self::Aborted(Signal::Interrupt) => 130,
            Self::Aborted(_) => 143,
        }
    }
}

/// Logs the messages and plugins that a stop left behind.
pub(crate) fn log(report: &StopReport, durable: bool) {
    for plugin in &report.abandoned {
        tracing::warn!(plugin, "the plugin did not stop in time and was abandoned");
    }
    for (receiver, messages) in &report.undelivered {
        if durable {
            tracing::warn!(receiver, messages, "the backlog stays in the log until the next start");
        } else {
            tracing::error!(receiver, messages, "lost messages: not delivered in time");
        }
    }
    if report.lost > 0 {
        let messages = report.lost;
        tracing::error!(
            messages,
            "lost messages: acknowledged with ack = \"memory\", and the log could not be written"
        );
    }
    if report.is_clean() {
        tracing::info!("stopped; every message was delivered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_the_log_are_not_lost_and_an_abandoned_plugin_is_reported() {
        let mut report = StopReport::default();
        report.undelivered.push(("store".to_owned(), 7));
        assert_eq!(Outcome::stopped(report.clone(), true).exit_code(), 0);
        assert_eq!(Outcome::stopped(report.clone(), false).exit_code(), 3);
        report.abandoned.push("receivers.store".to_owned());
        assert_eq!(Outcome::stopped(report.clone(), true).exit_code(), 3);
        report.abandoned.clear();
        report.lost = 1;
        assert_eq!(Outcome::stopped(report, true).exit_code(), 3);
    }
}
