//! One instance of a kind, and the calls of it.

use std::any::Any;
use std::ffi::c_void;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::border::cross;
use super::crew::Left;
use super::desk::{Answered, Caller};
use super::outcome::Answer;
use super::plug::Plug;
use crate::abi::{self, Call};

/// The instance of a plugin. Dropped by the plugin once it is unused and every call of it was completed.
pub(crate) struct Instance {
    plug: Arc<Plug>,
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
        plug: Arc<Plug>,
        host: &'static abi::Host,
        pointer: *mut c_void,
    ) -> Arc<Self> {
        Arc::new(Self { plug, host, pointer: Pointer(pointer), left: Mutex::default() })
    }

    pub(crate) fn plug(&self) -> &Plug {
        &self.plug
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
        let (number, answered) = self.plug.desk().open(self.host, caller, lent.clone());
        let mut waiting = Waiting { instance: self, call: number, answered: false };
        let pointer = self.pointer;
        self.plug.run(function, number, move || {
            let pointer = pointer;
            call(pointer.0, &lent, number);
        });
        let answered = receive(answered).await;
        waiting.answered = true;
        answered.answer
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let Some(free) = self.plug.functions().drop else { return };
        let (plug, pointer) = (self.plug.clone(), self.pointer);
        let crew = plug.desk().crew();
        let left = self.left.lock().take().unwrap_or_else(|| crew.leave());
        // It may wait for threads of its own, including the one that has just completed a call.
        let begun = crew.run(move || {
            let (pointer, _left) = (pointer, left);
            // SAFETY: the last use of the instance: it has no owner, and none of its calls runs.
            cross(plug.desk().library(), "drop", || unsafe { free(pointer.0) });
        });
        if let Err(error) = begun {
            let library = self.plug.desk().library();
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
        *self.0.left.lock() = Some(self.0.plug.desk().crew().leave());
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
        let plug = &self.instance.plug;
        if let (false, Some(cancel)) = (self.answered, plug.functions().cancel) {
            let (pointer, call) = (self.instance.pointer, self.call);
            // SAFETY: the instance exists, and `cancel` can be called at any time.
            cross(plug.desk().library(), "cancel", || unsafe { cancel(pointer.0, call) });
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
