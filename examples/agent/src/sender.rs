//! Sends what is in the buffer, in order, until the server has it.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::buffer::Buffer;
use crate::{CallError, ErrorChain, Metric, Transport};

#[derive(Debug)]
pub(crate) struct Sender<'a, T> {
    transport: &'a T,
    buffer: &'a Buffer,
    backoff: Backoff,
    in_flight: Option<Metric>,
    failing: bool,
    tally: Tally,
}

/// The fate of the metrics that a [`Sender`] took from the buffer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Acknowledged by the server.
    pub(crate) sent: u64,
    /// Refused permanently.
    pub(crate) rejected: u64,
    /// Taken from the buffer, but not acknowledged: one or none.
    pub(crate) unfinished: u64,
}

impl<'a, T: Transport> Sender<'a, T> {
    pub(crate) fn new(transport: &'a T, buffer: &'a Buffer, backoff: Backoff) -> Self {
        Self {
            transport,
            buffer,
            backoff,
            in_flight: None,
            failing: false,
            tally: Tally::default(),
        }
    }

    /// Sends until the buffer is closed and empty.
    ///
    /// Cancel safe: a metric that was being sent is counted as unfinished.
    pub(crate) async fn run(&mut self) {
        loop {
            self.deliver().await;
            self.in_flight = self.buffer.take().await;
            if self.in_flight.is_none() {
                return;
            }
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { unfinished: u64::from(self.in_flight.is_some()), ..self.tally }
    }

    async fn deliver(&mut self) {
        while let Some(metric) = &self.in_flight {
            match self.transport.data(metric).await {
                Ok(()) => self.sent(),
                Err(refusal @ CallError::Rejected { .. }) => self.rejected(&refusal),
                Err(failure) => self.pause(&failure).await,
            }
        }
    }

    fn sent(&mut self) {
        self.in_flight = None;
        self.tally.sent += 1;
        self.recovered();
    }

    fn rejected(&mut self, refusal: &CallError) {
        let key = self.in_flight.take().map(|metric| metric.key());
        self.tally.rejected += 1;
        tracing::warn!(error = %ErrorChain(refusal), ?key, "the server refuses this metric permanently; dropping it");
        self.recovered();
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.failing) {
            tracing::info!(waiting = self.buffer.len(), "the server accepts metrics again");
        }
    }

    async fn pause(&mut self, failure: &CallError) {
        let delay = self.backoff.delay(failure.retry_after());
        self.log_failure(failure, delay);
        let rested = tokio::time::sleep(delay);
        if self.buffer.is_closed() {
            return rested.await;
        }
        tokio::select! {
            () = rested => {}
            // At the end, the remaining time must not be spent in a delay.
            () = self.buffer.closed() => self.backoff.reset(),
        }
    }

    /// One warning for an outage, not one for each attempt.
    fn log_failure(&mut self, failure: &CallError, delay: Duration) {
        let (error, waiting) = (ErrorChain(failure), self.buffer.len());
        if std::mem::replace(&mut self.failing, true) {
            tracing::debug!(%error, ?delay, waiting, "sending failed again");
        } else {
            tracing::warn!(%error, ?delay, waiting, "sending failed; keeping metrics and retrying");
        }
    }
}
