//! Sources of metrics.

use std::future::Future;

use crate::{BoxError, Metric};

/// A repeatable measurement: of this machine, or simulated.
pub trait Source: Send {
    /// Takes one reading. Called once per [`Settings::interval`](crate::Settings::interval), never concurrently.
    ///
    /// Must not block the thread: use [`tokio::task::spawn_blocking`] for blocking work.
    ///
    /// # Errors
    /// The reading failed; the agent logs the error and measures again after the next interval.
    ///
    /// # Cancel safety
    /// The agent drops the future when it stops, also in the middle of a reading.
    fn measure(&mut self) -> impl Future<Output = Result<Vec<Metric>, BoxError>> + Send;
}
