//! Reports the export of spans, in metrics and in the log output.

use poa_core::error_chain;
use poa_core::telemetry::{Counter, Telemetry};

use crate::client::ExportError;

/// The numbers of spans.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) exported: Counter,
    /// Spans that the queue had no room for.
    pub(crate) overflowed: Counter,
    /// Spans that the collector did not take.
    pub(crate) refused: Counter,
    /// Spans that could not be sent in time.
    pub(crate) unsent: Counter,
}

impl Counts {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let dropped = |reason| {
            let help = "Spans of traces that were not exported, by reason";
            telemetry.counter("traces_dropped_spans", help, &[("reason", reason)])
        };
        Self {
            exported: telemetry.counter("traces_exported_spans", "Spans of traces exported", &[]),
            overflowed: dropped("queue_full"),
            refused: dropped("refused"),
            unsent: dropped("unsent"),
        }
    }

    /// The spans that are lost by this error.
    pub(crate) fn lost(&self, error: &ExportError) -> &Counter {
        if error.is_transient() { &self.unsent } else { &self.refused }
    }

    fn dropped(&self) -> u64 {
        self.overflowed.get() + self.refused.get() + self.unsent.get()
    }
}

/// Says once that spans are not exported, and once that they are again.
#[derive(Debug)]
pub(crate) struct Log {
    /// The spans dropped before the trouble that was reported last, until it is over.
    trouble: Option<u64>,
    /// The spans that were dropped at the last look.
    dropped: u64,
}

impl Log {
    pub(crate) fn new(counts: &Counts) -> Self {
        Self { trouble: None, dropped: counts.dropped() }
    }

    /// A request failed.
    pub(crate) fn failed(&mut self, counts: &Counts, error: &ExportError) {
        let cure = if error.is_transient() {
            "retrying; when the queue is full, spans are dropped"
        } else {
            "its spans are dropped; check `endpoint` and `headers` of [traces]"
        };
        let error = error_chain(error);
        self.report(counts, || tracing::warn!("traces are not exported: {error}; {cure}"));
    }

    /// A request was answered; the collector rejected so many of its spans, and gave this reason.
    pub(crate) fn sent(&mut self, counts: &Counts, rejected: u64, reason: &str) {
        if rejected > 0 || !reason.is_empty() {
            let text = "the collector does not take all spans";
            self.report(counts, || tracing::warn!(rejected, "{text}: {reason}"));
        } else if counts.dropped() > self.dropped {
            let cure = "lower `sample` of [traces], or give the collector more room";
            self.report(counts, || {
                tracing::warn!("spans are dropped, more arise than are exported; {cure}")
            });
        } else if let Some(before) = self.trouble.take() {
            let dropped = counts.dropped() - before;
            tracing::info!(dropped, "traces are exported again");
        }
        self.dropped = counts.dropped();
    }

    fn report(&mut self, counts: &Counts, say: impl FnOnce()) {
        if self.trouble.is_none() {
            self.trouble = Some(counts.dropped());
            say();
        }
    }
}
