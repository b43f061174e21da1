//! The end of waiting when a stop is nearly out of time.

use std::future::pending;

use tokio_util::sync::CancellationToken;

/// Lets a delivery end while it only waits to try again: a destination that is away must not look like a receiver that hangs.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    /// Fires when the time for draining is nearly over.
    last_call: CancellationToken,
    /// Fires when the delivery would only wait from then on.
    reached: CancellationToken,
}

impl Rest {
    pub(crate) fn new(last_call: CancellationToken) -> Self {
        Self { last_call, reached: CancellationToken::new() }
    }

    /// The output of `wait`; never, once the time is nearly over: the delivery ends then.
    pub(super) async fn or<T>(&self, wait: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            output = wait => output,
            () = self.last_call.cancelled() => {
                self.reached.cancel();
                pending().await
            }
        }
    }

    /// Returns when the delivery has to end.
    pub(super) async fn reached(&self) {
        self.reached.cancelled().await;
    }
}
