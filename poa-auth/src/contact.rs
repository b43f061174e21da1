//! Whether this node has recently seen the changes that other nodes made to users.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether tokens may be accepted given the age of what is known about users.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    closed: AtomicBool,
}

impl Contact {
    /// Contact has been lost for too long.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Contact exists; returns whether it had been lost for too long.
    pub(crate) fn open(&self) -> bool {
        self.closed.swap(false, Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }
}
