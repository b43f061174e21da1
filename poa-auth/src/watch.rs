//! Detects changes that other processes make to the database, and deletes what has expired.

use std::time::Duration;

use poa_core::Timestamp;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::auth::{Auth, Inner};
use crate::backing::BackingError;

/// The interval at which changes of other processes are detected.
const EVERY: Duration = Duration::from_secs(1);
/// The interval at which expired bans are deleted.
const PURGE_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Auth {
    /// Until `shutdown` fires: checks about once a second for changes made by other processes, such as the command line; deletes
    /// expired bans daily; and frees the memory of password hashes after a while without any.
    ///
    /// [`AuthHandler`](crate::AuthHandler) does this while it runs; a host without one must run it itself. Two at once are
    /// harmless.
    ///
    /// Cancel safe: dropping it ends the watch.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut purge_at = Instant::now() + PURGE_EVERY;
        let mut healthy = true;
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            let purge = Instant::now() >= purge_at;
            let result = self.blocking(move |inner| inner.look(purge)).await;
            let error = match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(interrupted) => Some(interrupted.0.to_string()),
            };
            if purge && error.is_none() {
                purge_at += PURGE_EVERY;
            }
            // Once for each outage, not once a second.
            if let Some(error) = &error
                && healthy
            {
                tracing::warn!(
                    error,
                    "cannot read the database of users; changes by other processes are delayed"
                );
            }
            healthy = error.is_none();
        }
    }
}

impl Inner {
    fn look(&self, purge: bool) -> Result<(), BackingError> {
        let mut store = self.store()?;
        self.write_issued(&mut store)?;
        if purge {
            let purged = store.purge(Timestamp::now())?;
            let members = store.members()?;
            self.directory.grant(|mirror| *mirror = members);
            tracing::debug!(purged, "deleted expired bans");
        }
        self.hasher.free_idle();
        if let Some(metrics) = self.metrics.get() {
            metrics.cached.set(i64::try_from(self.verified.len()).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}
