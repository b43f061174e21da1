//! The counters of an engine.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers that only grow.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Requests sent.
    pub requests: Count,
    /// Of those, without a subscriber.
    pub unanswered: Count,
    /// Of those, without a reply in time.
    pub timed_out: Count,
    /// Signals sent.
    pub signals: Count,
    /// Handlers called.
    pub calls: Count,
    /// Calls that ended with a code from 300.
    pub failed_calls: Count,
    /// Calls refused because too many were under way.
    pub refused_calls: Count,
    /// Messages that were not envelopes, or requests without a sender.
    pub malformed: Count,
    /// Messages that another member of the group took.
    pub taken_elsewhere: Count,
    /// Replies that were not waited for any more.
    pub late_replies: Count,
    /// Times the broker was lost.
    pub disconnects: Count,
    /// Reports that could not be published.
    pub lost_reports: Count,
}

/// One number.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counts {
    /// Waits for the reply to a request, for at most `timeout`, and counts how it ends.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(crate) async fn request(
        &self,
        timeout: std::time::Duration,
        reply: impl Future<Output = Result<crate::Message, crate::RequestError>>,
    ) -> Result<crate::Message, crate::RequestError> {
        self.requests.add();
        let reply = tokio::time::timeout(timeout, reply).await;
        let reply = reply.unwrap_or(Err(crate::RequestError::TimedOut));
        match &reply {
            Err(crate::RequestError::NoSubscriber(_)) => self.unanswered.add(),
            Err(crate::RequestError::TimedOut) => self.timed_out.add(),
            _ => {}
        }
        reply
    }

    /// All numbers by their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("requests", &self.requests),
            ("unanswered", &self.unanswered),
            ("timed_out", &self.timed_out),
            ("signals", &self.signals),
            ("calls", &self.calls),
            ("failed_calls", &self.failed_calls),
            ("refused_calls", &self.refused_calls),
            ("malformed", &self.malformed),
            ("taken_elsewhere", &self.taken_elsewhere),
            ("late_replies", &self.late_replies),
            ("disconnects", &self.disconnects),
            ("lost_reports", &self.lost_reports),
        ]
        .into_iter()
        .map(|(name, count)| (name, count.get()))
    }
}
