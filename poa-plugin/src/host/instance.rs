//! One instance of a kind, and how it is called.

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::desk::{Answered, Caller};
use super::outcome::Answer;
use super::plug::Plug;
use crate::abi::{self, Call};

/// What a plugin built. Dropped by the plugin once nobody uses it and every call of it was completed.
pub(crate) struct Instance {
    plug: Arc<Plug>,
    pointer: Pointer,
    runtime: Handle,
}

/// What a plugin calls its instance.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(pub(crate) *mut c_void);

// SAFETY: only handed back to the plugin, whose functions may be called from any thread.
unsafe impl Send for Pointer {}
// SAFETY: as for `Send`.
unsafe impl Sync for Pointer {}

impl Instance {
    pub(crate) fn new(plug: Arc<Plug>, pointer: *mut c_void, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { plug, pointer: Pointer(pointer), runtime })
    }

    pub(crate) fn plug(&self) -> &Plug {
        &self.plug
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }

    /// Makes a call and waits until the plugin has completed it. `lent` is kept until then, also when nobody waits any more.
    ///
    /// Cancel safe: the plugin is told that nobody waits.
    pub(crate) async fn call<L: Any + Send + Sync>(
        self: &Arc<Self>,
        lent: Arc<L>,
        call: impl FnOnce(*mut c_void, &L, Call) + Send + 'static,
    ) -> Answer {
        let caller = Caller::Instance(self.clone());
        let (number, answered) = self.plug.desk().open(self.plug.host(), caller, lent.clone());
        let mut waiting = Waiting { instance: self, call: number, answered: false };
        let pointer = self.pointer;
        self.plug.run(&self.runtime, move || {
            let pointer = pointer;
            call(pointer.0, &lent, number);
        });
        let answer = receive(answered).await.answer;
        waiting.answered = true;
        answer
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let (plug, pointer) = (self.plug.clone(), self.pointer);
        if let Some(free) = self.plug.functions().drop {
            // It may wait for threads of its own, even for the one that has just completed a call.
            self.runtime.spawn_blocking(move || {
                let pointer = pointer;
                let _library = plug;
                // SAFETY: the last use of the instance: nobody has it, and none of its calls runs.
                unsafe { free(pointer.0) }
            });
        }
    }
}

/// Tells the plugin when nobody waits for a call any more.
struct Waiting<'a> {
    instance: &'a Arc<Instance>,
    call: Call,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let (false, Some(cancel)) = (self.answered, self.instance.plug.functions().cancel) {
            // SAFETY: the instance is there, and `cancel` may be called at any time.
            unsafe { cancel(self.instance.pointer.0, self.call) }
        }
    }
}

/// The answer. The desk keeps the other end until there is one.
pub(crate) async fn receive(answered: oneshot::Receiver<Answered>) -> Answered {
    let lost = || Answer::broken("the call was lost");
    answered.await.unwrap_or_else(|_| Answered { answer: lost(), instance: None })
}

/// Whether calls go to threads that may block.
pub(crate) fn may_block(functions: &abi::Kind) -> bool {
    functions.flags & abi::POA_MAY_BLOCK != 0
}
