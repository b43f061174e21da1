//! Pings the server regularly, and measures the latency of its answers.

use std::convert::Infallible;
use std::time::Duration;

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::buffer::Buffer;
use crate::{CallError, ErrorChain, Metric, Transport};

#[derive(Debug)]
pub(crate) struct Pinger<'a, T> {
    transport: &'a T,
    buffer: &'a Buffer,
    interval: Duration,
    failing: bool,
    answered: u64,
}

/// `latency` in whole milliseconds, as agents have always sent it.
#[derive(Serialize)]
struct Latency {
    latency: u64,
}

impl<'a, T: Transport> Pinger<'a, T> {
    pub(crate) const fn new(transport: &'a T, buffer: &'a Buffer, interval: Duration) -> Self {
        Self { transport, buffer, interval, failing: false, answered: 0 }
    }

    /// Pings immediately and then once per interval. Cancel safe.
    pub(crate) async fn run(&mut self) -> Infallible {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.transport.ping().await {
                Ok(latency) => self.pinged(latency),
                Err(failure) => self.failed(&failure).await,
            }
        }
    }

    pub(crate) const fn answered(&self) -> u64 {
        self.answered
    }

    fn pinged(&mut self, latency: Duration) {
        self.answered += 1;
        if std::mem::take(&mut self.failing) {
            tracing::info!("the server answers pings again");
        }
        let millis = Duration::as_millis(&(latency + Duration::from_micros(500)));
        let body = Latency { latency: u64::try_from(millis).unwrap_or(u64::MAX) };
        match Metric::new("networking_metrics", "latency", &body) {
            Ok(metric) => self.buffer.push(metric),
            Err(error) => tracing::error!(error = %ErrorChain(&error), "a latency was lost"),
        }
    }

    /// A failed ping is not repeated: it would report an outdated state.
    async fn failed(&mut self, failure: &CallError) {
        self.log_failure(failure);
        tokio::time::sleep(failure.retry_after().unwrap_or_default()).await;
    }

    /// One warning for an outage, not one for each ping.
    fn log_failure(&mut self, failure: &CallError) {
        let error = ErrorChain(failure);
        if std::mem::replace(&mut self.failing, true) {
            tracing::debug!(%error, "ping failed again");
        } else {
            tracing::warn!(%error, "ping failed");
        }
    }
}
