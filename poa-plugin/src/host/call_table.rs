//! The call table: plugins hold numbers, not pointers, of the host.
//!
//! A plugin can complete a call late, twice or never, and use the host after it has ended. So every call, every running
//! handler and every started receiver has a number that is never reused, and is looked up here. A call table lives until the process ends, as its
//! library does: one for each time a library is loaded.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::border::cross;
use super::functions;
use super::instance::Instance;
use super::loaded_kind::LoadedKind;
use super::outcome::Answer;
use super::served::Served;
use super::thread_pool::{Left, ThreadPool};
use crate::abi::{self, Call, Sink};

/// The calls of one library, and its plugins that use the host.
pub(crate) struct CallTable {
    library: String,
    descriptor: usize,
    metrics: Option<unsafe extern "C-unwind" fn(out: Sink)>,
    pool: &'static ThreadPool,
    next: AtomicU64,
    calls: Mutex<HashMap<u64, Pending>>,
    served: Mutex<HashMap<u64, Served>>,
    seats: Mutex<HashMap<String, &'static abi::Host>>,
}

/// The host as seen by one plugin of the configuration: its log lines have the plugin's name.
pub(crate) struct Seat {
    pub(crate) table: &'static CallTable,
    pub(crate) instance: String,
}

/// A call that the plugin has not completed. It may have been abandoned.
struct Pending {
    answer: oneshot::Sender<Answered>,
    /// Data that the plugin may still read.
    lent: Lent,
    of: Caller,
    left: Option<Left>,
}

/// Data lent to a plugin.
pub(crate) type Lent = Arc<dyn Any + Send + Sync>;

/// The owner of a call.
pub(crate) enum Caller {
    /// The instance, which must not be dropped during a call of it.
    Instance(Arc<Instance>),
    /// The kind that builds an instance.
    Kind(Arc<LoadedKind>, &'static abi::Host),
}

/// The result of a call, with the instance it belongs to or built.
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) instance: Option<Arc<Instance>>,
    /// Dropped by the waiting caller, and not on a thread of the plugin.
    pub(crate) _lent: Option<Lent>,
}

impl CallTable {
    /// A call table for a library that was just loaded, with the descriptor at this address.
    pub(crate) fn for_ever(
        library: &str,
        descriptor: usize,
        metrics: Option<unsafe extern "C-unwind" fn(out: Sink)>,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            library: library.to_owned(),
            descriptor,
            metrics,
            pool: ThreadPool::of(descriptor),
            next: AtomicU64::new(1),
            calls: Mutex::default(),
            served: Mutex::default(),
            seats: Mutex::default(),
        }))
    }

    /// The host for a plugin of this name in the configuration. Never freed, and made once.
    pub(crate) fn seat(&'static self, instance: &str) -> &'static abi::Host {
        self.seats.lock().entry(instance.to_owned()).or_insert_with(|| {
            let seat = Box::leak(Box::new(Seat { table: self, instance: instance.to_owned() }));
            Box::leak(Box::new(functions::host(seat)))
        })
    }

    pub(crate) fn library(&self) -> &str {
        &self.library
    }

    /// Distinguishes the library from others with the same name.
    pub(crate) fn key(&self) -> String {
        format!("{}@{:x}", self.library, self.descriptor)
    }

    pub(crate) fn pool(&self) -> &'static ThreadPool {
        self.pool
    }

    /// The metrics of the library, as text.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        if let Some(metrics) = self.metrics {
            // SAFETY: a function of a library that is never unloaded, with a sink that outlives the call.
            cross(&self.library, "metrics", || unsafe { metrics(Sink::into(&mut text)) });
        }
        text
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records a call that is about to be made.
    pub(crate) fn open(
        &self,
        host: &'static abi::Host,
        of: Caller,
        lent: Lent,
    ) -> (Call, oneshot::Receiver<Answered>) {
        let id = self.number();
        let (answer, answered) = oneshot::channel();
        self.calls.lock().insert(id, Pending { answer, lent, of, left: None });
        (Call { host, id }, answered)
    }

    /// Whether the call is still awaited.
    pub(crate) fn is_awaited(&self, id: u64) -> bool {
        self.calls.lock().get(&id).is_some_and(|pending| !pending.answer.is_closed())
    }

    /// Records that the call is no longer awaited; until the plugin completes it, it counts as one that never ended.
    pub(crate) fn give_up(&self, id: u64) {
        if let Some(pending) = self.calls.lock().get_mut(&id) {
            pending.left = Some(self.pool.leave());
        }
    }

    /// Handles the completion of a call by the plugin.
    pub(crate) fn complete(&self, id: u64, answer: Answer) {
        let pending = self.calls.lock().remove(&id);
        let Some(Pending { answer: waiting, of, lent, left: _left }) = pending else {
            let library = &*self.library;
            tracing::warn!(
                library,
                "completed call {id}, which was completed before or never made"
            );
            return;
        };
        let instance = match of {
            Caller::Instance(instance) => Some(instance),
            Caller::Kind(loaded, host) => {
                let made = answer.code == abi::POA_OK;
                made.then(|| Instance::new(loaded, host, answer.instance))
            }
        };
        if waiting.send(Answered { answer, instance, _lent: Some(lent) }).is_err() {
            tracing::debug!(library = &*self.library, "completed call {id} after its time");
        }
    }

    /// Lets a plugin use the host under this number until it is [removed](Self::stop_serving).
    pub(crate) fn serve(&self, served: Served) -> u64 {
        let id = self.number();
        self.served.lock().insert(id, served);
        id
    }

    pub(crate) fn stop_serving(&self, id: u64) {
        let ended = self.served.lock().remove(&id);
        // Dropped after the lock is released.
        drop(ended);
    }

    pub(crate) fn served(&self, id: u64) -> Option<Served> {
        self.served.lock().get(&id).cloned()
    }
}
