//! Writes cursors.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use poa_core::Timestamp;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Receiver;
use crate::held::Write;
use crate::names;

/// How often cursors are written that have moved.
const EVERY: Duration = Duration::from_secs(1);

impl Receiver {
    /// Writes cursors once a second, and at once when asked to.
    pub(super) async fn flush_regularly(self: Arc<Self>, end: CancellationToken) {
        while !end.is_cancelled() {
            tokio::select! {
                () = end.cancelled() => {}
                _ = timeout(EVERY, self.signals.flush.notified()) => self.flush().await,
            }
        }
    }

    /// Writes all cursors that have moved.
    pub(super) async fn flush(&self) {
        let writes = self.held.lock().writes(Timestamp::now());
        let wrote = !writes.is_empty();
        join_all(writes.into_iter().map(|write| self.write(write))).await;
        if wrote {
            self.signals.arrived.notify_waiters();
        }
    }

    async fn write(&self, write: Write) {
        let key = names::cursor(self.name(), write.partition);
        match write.cursor.write(&self.cluster.receivers, &key, write.revision).await {
            Ok(Some(revision)) => self.held.lock().written(write, revision),
            Ok(None) => {
                tracing::warn!(
                    receiver = self.name(),
                    partition = write.partition,
                    "another node has taken over the partition"
                );
                self.lose(write.partition, write.cursor.epoch);
            }
            Err(failure) => {
                tracing::debug!(receiver = self.name(), "cannot write a cursor now: {failure}");
            }
        }
    }

    /// Stops handing out a partition, if it is still held under this epoch.
    pub(super) fn lose(&self, partition: u16, epoch: u64) {
        let mut held = self.held.lock();
        if held.holds(partition, epoch) {
            held.remove(partition);
        }
        drop(held);
        self.signals.free.notify_one();
    }
}
