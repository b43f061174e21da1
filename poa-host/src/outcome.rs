//! How a server ended.

use poa_core::StopReport;

use crate::Signal;

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was told to stop.
    Stopped {
        /// The messages and plugins that the stop left behind.
        report: StopReport,
        /// How many messages are gone. With a log on the disk none are, unless it could not be written: what was not delivered is,
        /// after the next start.
        lost: u64,
    },
    /// It was told twice, and left everything.
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

    /// The exit code of a program that ends this way: 0 when nothing was lost and every plugin stopped, 3 when messages were lost
    /// or a plugin did not stop in time and was abandoned, 130 or 143 when a second signal ended it at once.
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
        tracing::warn!(plugin, "did not stop in time and was abandoned");
    }
    for (receiver, messages) in &report.undelivered {
        if durable {
            tracing::warn!(receiver, messages, "messages wait in the log for the next start");
        } else {
            tracing::error!(receiver, messages, "messages were lost: not delivered in time");
        }
    }
    if report.lost > 0 {
        let messages = report.lost;
        tracing::error!(
            messages,
            "messages were lost: taken with ack = \"memory\", and the log could not be written"
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
    fn what_the_log_keeps_is_not_lost_and_an_abandoned_plugin_shows() {
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
