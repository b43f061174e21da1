//! Whether this node has seen what other nodes did to users lately.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether tokens may be accepted by what is known of users.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    closed: AtomicBool,
}

impl Contact {
    /// Contact has been lost for too long.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// There is contact; whether it was lost for too long.
    pub(crate) fn open(&self) -> bool {
        self.closed.swap(false, Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }
}
