//! What a plugin holds of the host: numbers, no pointers.
//!
//! A plugin may complete a call late, twice or never, and use a handler that has ended. So every call and every handler has a
//! number that is never used again, and what it stands for is looked up here. A desk lives for as long as the process, as its
//! library does: one for each time a library is loaded.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use poa_core::HandlerContext;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::functions;
use super::instance::Instance;
use super::outcome::Answer;
use super::plug::Plug;
use crate::abi::{self, Call, Sink};

/// The calls and handlers of one library.
pub(crate) struct Desk {
    library: String,
    metrics: Option<unsafe extern "C" fn(out: Sink)>,
    next: AtomicU64,
    calls: Mutex<HashMap<u64, Pending>>,
    handlers: Mutex<HashMap<u64, Served>>,
}

/// A call that the plugin has not completed. It may be that nobody waits for it any more.
pub(crate) struct Pending {
    pub(crate) answer: oneshot::Sender<Answered>,
    /// What the plugin may still read.
    pub(crate) _lent: Arc<dyn Any + Send + Sync>,
    pub(crate) of: Caller,
}

/// What a call belongs to.
pub(crate) enum Caller {
    /// The instance, which must not be dropped while a call of it runs.
    Instance(Arc<Instance>),
    /// The kind that is to make one.
    Kind(Arc<Plug>, Handle),
}

/// What came of a call, with the instance it belongs to or made.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) instance: Option<Arc<Instance>>,
}

/// A handler that runs, and where what it started runs.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) cx: HandlerContext,
    pub(crate) runtime: Handle,
}

impl Desk {
    /// A desk for a library that was just loaded, and what the library gets to know of it.
    pub(crate) fn for_ever(
        library: &str,
        metrics: Option<unsafe extern "C" fn(out: Sink)>,
    ) -> &'static abi::Host {
        let desk: &'static Self = Box::leak(Box::new(Self {
            library: library.to_owned(),
            metrics,
            next: AtomicU64::new(1),
            calls: Mutex::default(),
            handlers: Mutex::default(),
        }));
        Box::leak(Box::new(functions::host(desk)))
    }

    pub(crate) fn library(&self) -> &str {
        &self.library
    }

    /// The metrics of the library, as text.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        if let Some(metrics) = self.metrics {
            // SAFETY: a function of a library that stays, which gets a sink for as long as it runs.
            unsafe { metrics(Sink::into(&mut text)) };
        }
        text
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a call that is about to be made.
    pub(crate) fn open(
        &self,
        host: &'static abi::Host,
        of: Caller,
        lent: Arc<dyn Any + Send + Sync>,
    ) -> (Call, oneshot::Receiver<Answered>) {
        let id = self.number();
        let (answer, answered) = oneshot::channel();
        self.calls.lock().insert(id, Pending { answer, _lent: lent, of });
        (Call { host, id }, answered)
    }

    /// The plugin says that a call has ended.
    pub(crate) fn complete(&self, id: u64, answer: Answer) {
        let pending = self.calls.lock().remove(&id);
        let Some(Pending { answer: waiting, of, _lent }) = pending else {
            let library = &*self.library;
            tracing::warn!(
                library,
                "completed call {id}, which was completed before or never made"
            );
            return;
        };
        let instance = match of {
            Caller::Instance(instance) => Some(instance),
            Caller::Kind(plug, runtime) => {
                let made = answer.code == abi::POA_OK;
                made.then(|| Instance::new(plug, answer.instance, runtime))
            }
        };
        if waiting.send(Answered { answer, instance }).is_err() {
            tracing::debug!(library = &*self.library, "completed call {id} after its time");
        }
    }

    /// Lets a handler use the host until it is [closed](Self::close_handler).
    pub(crate) fn open_handler(&self, served: Served) -> u64 {
        let id = self.number();
        self.handlers.lock().insert(id, served);
        id
    }

    pub(crate) fn close_handler(&self, id: u64) {
        let closed = self.handlers.lock().remove(&id);
        // Dropped after the lock is released.
        drop(closed);
    }

    pub(crate) fn handler(&self, id: u64) -> Option<Served> {
        self.handlers.lock().get(&id).cloned()
    }
}
