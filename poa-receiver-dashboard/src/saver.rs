//! Brings the last values to the disk.

use std::time::Duration;

use poa_core::telemetry::Counter;

use crate::state::State;
use crate::store::Store;

/// How long values wait that agents repeat anyway.
const EVERY: Duration = Duration::from_secs(5);

/// Writes what changed. Cloning is cheap.
///
/// A disk that fails does not stop the dashboard: it is said and counted, and what could not be written waits for the next
/// time.
#[derive(Clone, Debug)]
pub(crate) struct Saver {
    pub(crate) state: State,
    pub(crate) store: Store,
    pub(crate) failures: Counter,
}

impl Saver {
    /// Writes what an agent may never say again; with `all`, everything.
    pub(crate) async fn save(&self, all: bool) {
        let saver = self.clone();
        // Ends by itself: it is only lost together with the runtime.
        let _ = tokio::task::spawn_blocking(move || saver.save_now(all)).await;
    }

    fn save_now(&self, all: bool) {
        let Some(rows) = self.state.take_unsaved(all) else { return };
        if let Err(error) = self.store.save(&rows) {
            self.failures.inc();
            tracing::warn!(
                "the last values cannot be written, and would be lost by a restart: {error}"
            );
            self.state.not_saved(&rows);
        }
    }

    /// Writes everything now and then, and forgets agents that have gone. Never ends.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.state.forget_gone();
            self.save(true).await;
        }
    }
}
