//! One instance of a kind, and the calls of it.

use std::any::Any;
use std::ffi::c_void;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::border::cross;
use super::call_table::{Answered, Caller};
use super::loaded_kind::LoadedKind;
use super::outcome::Answer;
use super::thread_pool::Left;
use crate::abi::{self, Call};

/// The instance of a plugin. Dropped by the plugin once it is unused and every call of it was completed.
pub(crate) struct Instance {
    loaded: Arc<LoadedKind>,
    host: &'static abi::Host,
    pointer: Pointer,
    /// Present once the host has released it.
    left: Mutex<Option<Left>>,
}

/// The plugin's pointer to its instance.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(pub(crate) *mut c_void);

// SAFETY: only passed back to the plugin, whose functions can be called from any thread.
unsafe impl Send for Pointer {}
// SAFETY: as for `Send`.
unsafe impl Sync for Pointer {}

impl Instance {
    pub(crate) fn new(
        loaded: Arc<LoadedKind>,
        host: &'static abi::Host,
        pointer: *mut c_void,
    ) -> Arc<Self> {
        Arc::new(Self { loaded, host, pointer: Pointer(pointer), left: Mutex::default() })
    }

    pub(crate) fn loaded(&self) -> &LoadedKind {
        &self.loaded
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }

    /// Calls this function and waits until the plugin has completed it. `lent` is kept until then, also after the
    /// caller stopped waiting.
    ///
    /// Cancel safe: the plugin is notified that the call is no longer awaited.
    pub(crate) async fn call<L: Any + Send + Sync>(
        self: &Arc<Self>,
        function: &'static str,
        lent: Arc<L>,
        call: impl FnOnce(*mut c_void, &L, Call) + Send + 'static,
    ) -> Answer {
        let caller = Caller::Instance(self.clone());
        let (number, answered) = self.loaded.table().open(self.host, caller, lent.clone());
        let mut waiting = Waiting { instance: self, call: number, answered: false };
        let pointer = self.pointer;
        self.loaded.run(function, number, move || {
            let pointer = pointer;
            call(pointer.0, &lent, number);
        });
        let answered = receive(answered).await;
        waiting.answered = true;
        answered.answer
    }

    /// Calls this function, if the plugin has it: one that takes no call, and can come at any time.
    pub(crate) fn notify(
        &self,
        name: &'static str,
        function: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
    ) {
        let Some(function) = function else { return };
        // SAFETY: a function of a library that is never unloaded, with its instance, which exists.
        cross(self.loaded.table().library(), name, || unsafe { function(self.pointer.0) });
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(free) = self.loaded.functions().drop else { return };
        let (loaded, pointer) = (self.loaded.clone(), self.pointer);
        let pool = loaded.table().pool();
        let left = self.left.lock().take().unwrap_or_else(|| pool.leave());
        // It may wait for threads of its own, including the one that has just completed a call.
        let begun = pool.run(move || {
            let (pointer, _left) = (pointer, left);
            // SAFETY: the last use of the instance: it has no owner, and none of its calls runs.
            cross(loaded.table().library(), "drop", || unsafe { free(pointer.0) });
        });
        if let Err(error) = begun {
            let library = self.loaded.table().library();
            tracing::error!(library, "an instance stays, for want of a thread to drop it: {error}");
        }
    }
}

/// An instance in use. When this is dropped, the library has to end it.
pub(crate) struct InUse(Arc<Instance>);

impl InUse {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        Self(instance)
    }
}

impl Deref for InUse {
    type Target = Arc<Instance>;

    fn deref(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.left.lock() = Some(self.0.loaded.table().pool().leave());
    }
}

/// Notifies the plugin when a call is no longer awaited.
struct Waiting<'a> {
    instance: &'a Arc<Instance>,
    call: Call,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let loaded = &self.instance.loaded;
        if let (false, Some(cancel)) = (self.answered, loaded.functions().cancel) {
            let (pointer, call) = (self.instance.pointer, self.call);
            // SAFETY: the instance exists, and `cancel` can be called at any time.
            cross(loaded.table().library(), "cancel", || unsafe { cancel(pointer.0, call) });
        }
    }
}

/// The answer. The call table keeps the other end until there is one.
pub(crate) async fn receive(answered: oneshot::Receiver<Answered>) -> Answered {
    let lost = || Answer::broken("the call was lost");
    answered.await.unwrap_or_else(|_| Answered { answer: lost(), instance: None, _lent: None })
}

/// Whether calls are made on threads that may block.
pub(crate) fn may_block(functions: &abi::Kind) -> bool {
    functions.flags & abi::POA_MAY_BLOCK != 0
}
