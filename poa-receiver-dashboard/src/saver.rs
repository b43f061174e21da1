//! Saves the last values to disk.

use std::time::Duration;

use poa_core::telemetry::Counter;

use crate::state::State;
use crate::store::Store;

/// The delay before saving values that agents repeat anyway.
const EVERY: Duration = Duration::from_secs(5);

/// Saves changes. Cloning is cheap.
///
/// A disk that fails does not stop the dashboard: failures are logged and counted, and unsaved values are saved later.
#[derive(Clone, Debug)]
pub(crate) struct Saver {
    pub(crate) state: State,
    pub(crate) store: Store,
    pub(crate) failures: Counter,
}

impl Saver {
    /// Saves values that an agent may never repeat; with `all`, everything.
    pub(crate) async fn save(&self, all: bool) {
        let saver = self.clone();
        // This task ends only together with the runtime.
        let _ = tokio::task::spawn_blocking(move || saver.save_now(all)).await;
    }

    fn save_now(&self, all: bool) {
        let Some(rows) = self.state.take_unsaved(all) else { return };
        if let Err(error) = self.store.save(&rows) {
            self.failures.inc();
            tracing::warn!("cannot save the last values, so a restart would lose them: {error}");
            self.state.not_saved(&rows);
        }
    }

    /// Saves everything periodically, and removes agents that have gone. Never returns.
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
