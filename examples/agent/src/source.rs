//! Where metrics come from.

use std::future::Future;

use crate::{BoxError, Metric};

/// Something that can be measured again and again: this machine, or a simulated one.
pub trait Source: Send {
    /// Takes one reading. Called once per [`Settings::interval`](crate::Settings::interval), never twice at a time.
    ///
    /// Must not block the thread: what blocks belongs on [`tokio::task::spawn_blocking`].
    ///
    /// # Errors
    /// The reading failed; the agent logs it and asks again at the next interval.
    ///
    /// # Cancel safety
    /// The agent drops the future when it stops, in the middle of a reading too.
    fn measure(&mut self) -> impl Future<Output = Result<Vec<Metric>, BoxError>> + Send;
}
