//! Telling those who wait that their messages are stored.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::local::Local;
use crate::promise::Stored;

/// Tells those who wait that their messages are stored, and wakes the subscribers.
///
/// A task does that, and not the thread that writes: waking a task from a thread that is not the runtime's costs a system call, and
/// here it is one for a group instead of one for each message.
#[derive(Debug)]
pub(crate) struct Settling {
    local: Arc<Local>,
    stored: mpsc::UnboundedReceiver<Stored>,
}

impl Settling {
    pub(crate) fn new(local: Arc<Local>, stored: mpsc::UnboundedReceiver<Stored>) -> Self {
        Self { local, stored }
    }

    /// Until the log is closed.
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
