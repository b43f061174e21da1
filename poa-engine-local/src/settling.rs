//! Settles receipts of messages that are stored.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::local::Local;
use crate::promise::Stored;

/// Settles receipts of messages that are stored, and wakes the subscribers.
///
/// A task does this, not the thread that writes: waking a task from a thread outside of the runtime costs a system call, which is
/// paid once per group instead of once per message.
#[derive(Debug)]
pub(crate) struct Settling {
    local: Arc<Local>,
    stored: mpsc::UnboundedReceiver<Stored>,
}

impl Settling {
    pub(crate) fn new(local: Arc<Local>, stored: mpsc::UnboundedReceiver<Stored>) -> Self {
        Self { local, stored }
    }

    /// Runs until the log is closed.
    pub(crate) async fn run(mut self) {
        while let Some(stored) = self.stored.recv().await {
            settle(&self.local, stored);
        }
    }
}

pub(crate) fn settle(local: &Local, stored: Stored) {
    stored.iter().for_each(|waiter| waiter.confirm(true));
    let garbage = local.state.lock().wake_subscribers();
    drop(garbage);
}
