//! A started receiver: its connection to the host, and the news that it is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poa_core::ReceiverContext;
use tokio::task::AbortHandle;

use super::instance::Instance;
use super::served::{Context, Serving};
use crate::abi::{self, Bytes};

/// A receiver that was started. When this is dropped, the receiver can no longer use the host, and is told to end its
/// background work if it was not told before.
pub(crate) struct Started {
    serving: Serving,
    ending: Arc<Ending>,
    watch: AbortHandle,
}

/// Tells an instance once that it is to end its background work.
struct Ending {
    instance: Arc<Instance>,
    told: AtomicBool,
}

impl Ending {
    fn tell(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.instance.notify("shutdown", self.instance.loaded().functions().shutdown);
        }
    }
}

impl Started {
    pub(crate) fn new(instance: &Arc<Instance>, cx: &ReceiverContext) -> Self {
        let ending = Arc::new(Ending { instance: instance.clone(), told: AtomicBool::new(false) });
        let (watched, shutdown) = (Arc::downgrade(&ending), cx.shutdown().clone());
        let watch = tokio::spawn(async move {
            shutdown.cancelled().await;
            if let Some(ending) = watched.upgrade() {
                ending.tell();
            }
        });
        let serving = Serving::begin(instance.loaded().table(), Context::Receiver(cx.clone()));
        Self { serving, ending, watch: watch.abort_handle() }
    }

    /// The number under which the receiver uses the host.
    pub(crate) fn number(&self) -> u64 {
        self.serving.number()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.watch.abort();
        self.ending.tell();
    }
}

/// The context lent to a plugin for its start.
pub(crate) struct LentStart {
    _name: String,
    pub(crate) view: abi::Start,
}

// SAFETY: it never changes, and the pointer leads to data that it owns.
unsafe impl Send for LentStart {}
// SAFETY: as for `Send`.
unsafe impl Sync for LentStart {}

impl LentStart {
    pub(crate) fn new(name: &str, sender: u64) -> Self {
        let name = name.to_owned();
        let view =
            abi::Start { size: size_of::<abi::Start>(), name: Bytes::of(name.as_bytes()), sender };
        Self { _name: name, view }
    }
}
