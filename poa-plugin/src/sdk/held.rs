//! The host's pointer to an instance.

use std::ffi::c_void;
use std::sync::Arc;

use super::context::HostRef;
use super::kind::guard;
use super::log;
use super::runtime::OwnRuntime;

/// The target of the host's pointer. Calls share the instance; only the host owns the runtime, so that no task of the
/// instance ever ends the threads that it runs on.
pub(super) struct Held<T> {
    instance: Arc<T>,
    runtime: OwnRuntime,
    host: HostRef,
}

impl<T> Held<T> {
    pub(super) fn new(instance: Arc<T>, runtime: OwnRuntime, host: HostRef) -> Self {
        Self { instance, runtime, host }
    }

    /// Makes the pointer for the host.
    pub(super) fn into_pointer(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }
}

/// An instance, shared with the host.
///
/// # Safety
/// The host got `held` from [`Held::into_pointer`], and has not dropped it.
pub(super) unsafe fn share<T>(held: *mut c_void) -> Arc<T> {
    // SAFETY: the caller guarantees it.
    unsafe { (*held.cast::<Held<T>>()).instance.clone() }
}

/// Drops an instance, and waits for the end of its tasks.
///
/// # Safety
/// As for [`share`], and the host does not use it any more.
pub(super) unsafe fn free<T>(held: *mut c_void) {
    // SAFETY: the caller guarantees it.
    let Held { instance, runtime, host } = *unsafe { Box::from_raw(held.cast::<Held<T>>()) };
    log::is_from(host);
    let handle = runtime.handle();
    let entered = handle.enter();
    if let Err(panic) = guard(|| drop(instance)) {
        tracing::warn!("panicked while it was dropped: {panic}");
    }
    drop(entered);
    runtime.end();
}
