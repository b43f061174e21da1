//! Traces of one host.

use std::fmt;
use std::sync::Arc;

use poa_core::Observer;
use poa_core::config::Problem;
use poa_core::telemetry::Telemetry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Client;
use crate::encode::Encoder;
use crate::export::{Exporter, QUEUE};
use crate::record::Recorder;
use crate::report::{Counts, Log};
use crate::sample::Sampler;
use crate::{Config, Service};

/// The reason why traces cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A value that [`Config::validate`] reports.
    #[error("{0}")]
    Invalid(Problem),
    /// An endpoint with `https` needs the root certificates of the system, and they cannot be read.
    #[error("cannot load the root certificates of the system; install them, or set SSL_CERT_FILE")]
    Certificates(#[source] std::io::Error),
}

impl StartError {
    pub(crate) fn invalid(problem: Problem) -> Self {
        Self::Invalid(problem.under("traces"))
    }
}

/// Exports the traces of one host, from a task on the runtime that started it.
///
/// Give the [`observer`](Self::observer) to the host, and [`stop`](Self::stop) after the host has stopped. When dropped instead, the
/// task exports what is queued, for at most five seconds, and ends.
pub struct Traces {
    recorder: Arc<Recorder>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Traces {
    /// Starts the export. Connects only when there are spans: the collector may start later, or never.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing runs then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        config: &Config,
        service: &Service,
        telemetry: &Telemetry,
    ) -> Result<Self, StartError> {
        if let Some(problem) = config.validate().into_iter().next() {
            return Err(StartError::invalid(problem));
        }
        let (sampler, counts) = (Sampler::new(config.sample), Counts::new(telemetry));
        let (sender, spans) = mpsc::channel(QUEUE);
        let overflowed = counts.overflowed.clone();
        let stop = CancellationToken::new();
        let exporter = Exporter {
            spans,
            client: Client::new(config)?,
            encoder: Encoder::new(sampler, service),
            log: Log::new(&counts),
            counts,
            interval: config.interval.get(),
            stop: stop.clone(),
        };
        Ok(Self {
            recorder: Arc::new(Recorder { sampler, spans: sender, overflowed }),
            task: tokio::spawn(exporter.run()),
            stop: stop.drop_guard(),
        })
    }

    /// The observer that records the spans.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.recorder.clone()
    }

    /// Exports the spans that are queued, for at most five seconds. A collector that does not answer is tried once.
    ///
    /// Cancel safe: when dropped, the export continues within its time.
    pub async fn stop(self) {
        drop(self.stop);
        // The task does not panic; if it did, there would be nothing left to wait for.
        let _ = self.task.await;
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("queued", &self.recorder.queued()).finish_non_exhaustive()
    }
}
