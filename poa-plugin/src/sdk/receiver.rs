//! The functions of a receiver.

use std::ffi::c_void;
use std::sync::Arc;

use poa_core::{
    BuildContext, ControlMessage, DeliveryError, MemoryBudget, Receiver, ReceiverContext,
    ReceiverKind, Relayed,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::batch;
use super::build::{misconfigured, on_runtime};
use super::context::{self, HostRef};
use super::held::{self, share};
use super::kind::{guard, write};
use super::relay::HostRelay;
use super::task::{Ended, Tasks, error};
use crate::abi::{self, Activities, Batch, Build, Call, Sink, Start};
use crate::sized;

/// A receiver owned by the host.
struct Instance {
    receiver: Mutex<Box<dyn Receiver>>,
    cx: BuildContext,
    host: HostRef,
    shutdown: CancellationToken,
    agents: parking_lot::Mutex<batch::Agents>,
    endpoints: String,
    tasks: Tasks,
}

impl Instance {
    /// The context under which it starts with this number.
    fn context(&self, number: u64) -> ReceiverContext {
        ReceiverContext::relayed(
            self.cx.name(),
            Relayed {
                relay: Arc::new(HostRelay::new(self.host, number)),
                data_types: self.cx.data_types().clone(),
                authenticator: None,
                memory: MemoryBudget::new(0),
                telemetry: self.cx.telemetry().clone(),
                shutdown: self.shutdown.clone(),
            },
        )
    }
}

/// A pointer to data that the host lends until a call is completed.
struct Lent<T>(*const T);

// SAFETY: lent data never changes, and can be read from any thread.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    fn get(&self) -> *const T {
        self.0
    }
}

/// Builds a receiver on the plugin's runtime.
///
/// # Safety
/// `build` is lent by the host until `call` is completed.
pub(super) unsafe fn build(
    kind: fn() -> Arc<ReceiverKind>,
    threads: usize,
    build: *const Build,
    call: Call,
) {
    // SAFETY: the caller guarantees it.
    unsafe { on_runtime(threads, build, call, move |known, runtime| make(kind, known, runtime)) }
}

async fn make(
    kind: fn() -> Arc<ReceiverKind>,
    known: context::Known,
    runtime: Handle,
) -> Result<Instance, Ended> {
    let factory = match kind().configure(known.config) {
        Ok(factory) => factory,
        Err(problems) => return Err(misconfigured(&problems)),
    };
    match factory(&known.cx).await {
        Ok(receiver) => Ok(Instance {
            endpoints: serde_json::json!(receiver.endpoints()).to_string(),
            receiver: Mutex::new(receiver),
            cx: known.cx,
            host: known.host,
            shutdown: CancellationToken::new(),
            agents: parking_lot::Mutex::default(),
            tasks: Tasks::on(runtime),
        }),
        Err(error) => Err(Ended::not_built(&error)),
    }
}

pub(super) unsafe extern "C-unwind" fn free(instance: *mut c_void) {
    // SAFETY: the host passes the pointer it got from the build, and does not use it any more.
    unsafe { held::free::<Instance>(instance) }
}

pub(super) unsafe extern "C-unwind" fn cancel(instance: *mut c_void, call: Call) {
    // SAFETY: the host owns the instance.
    unsafe { share::<Instance>(instance) }.tasks.cancel(call);
}

pub(super) unsafe extern "C-unwind" fn endpoints(instance: *mut c_void, out: Sink) {
    // SAFETY: the host owns the instance, and its sink outlives the call.
    unsafe { write(out, || share::<Instance>(instance).endpoints.clone()) }
}

pub(super) unsafe extern "C-unwind" fn start(
    instance: *mut c_void,
    lent: *const Start,
    call: Call,
) {
    // SAFETY: the host owns the instance, and lends the context until the call is completed.
    let (instance, start) = unsafe { (share::<Instance>(instance), sized::read(lent)) };
    let sender = start.map(|start| start.sender);
    let own = instance.clone();
    instance.tasks.spawn(call, async move {
        let Ok(sender) = sender else {
            return Ended::new(abi::POA_TRANSIENT, "the host's context is not valid");
        };
        let cx = own.context(sender);
        Ended::delivered(own.receiver.lock().await.start(cx).await)
    });
}

pub(super) unsafe extern "C-unwind" fn shutdown(instance: *mut c_void) {
    // SAFETY: the host owns the instance.
    unsafe { share::<Instance>(instance) }.shutdown.cancel();
}

pub(super) unsafe extern "C-unwind" fn metrics_received(
    instance: *mut c_void,
    lent: *const Batch,
    call: Call,
) {
    // SAFETY: the host owns the instance.
    let instance = unsafe { share::<Instance>(instance) };
    // Copied on the host's thread, whose cache has the batch: another processor would have to fetch it. SAFETY: lent
    // until the call is completed.
    let messages = guard(|| unsafe {
        batch::messages(lent, instance.cx.data_types(), &mut instance.agents.lock())
    });
    let own = instance.clone();
    instance.tasks.spawn(call, async move {
        match messages.flatten() {
            Ok(messages) => {
                Ended::delivered(own.receiver.lock().await.metrics_received(&messages).await)
            }
            Err(why) => Ended::new(abi::POA_TRANSIENT, why),
        }
    });
}

pub(super) unsafe extern "C-unwind" fn handle_active(
    instance: *mut c_void,
    agents: *const Activities,
    call: Call,
) {
    // SAFETY: the host owns the instance, and lends the agents.
    unsafe { changed(instance, agents, call, true) }
}

pub(super) unsafe extern "C-unwind" fn handle_inactive(
    instance: *mut c_void,
    agents: *const Activities,
    call: Call,
) {
    // SAFETY: the host owns the instance, and lends the agents.
    unsafe { changed(instance, agents, call, false) }
}

/// # Safety
/// The host owns the instance, and lends the agents until the call is completed.
unsafe fn changed(instance: *mut c_void, lent: *const Activities, call: Call, active: bool) {
    // SAFETY: the caller guarantees it.
    let instance = unsafe { share::<Instance>(instance) };
    let lent = Lent(lent);
    let own = instance.clone();
    instance.tasks.spawn(call, async move {
        // SAFETY: lent until the call is completed.
        let changes = match unsafe { batch::activities(lent.get(), active) } {
            Ok(changes) => changes,
            Err(why) => return Ended::new(abi::POA_TRANSIENT, why),
        };
        let mut receiver = own.receiver.lock().await;
        Ended::delivered(if active {
            receiver.handle_active(&changes).await
        } else {
            receiver.handle_inactive(&changes).await
        })
    });
}

pub(super) unsafe extern "C-unwind" fn handle_message(
    instance: *mut c_void,
    message: u32,
    call: Call,
) {
    // SAFETY: the host owns the instance.
    let instance = unsafe { share::<Instance>(instance) };
    let own = instance.clone();
    instance.tasks.spawn(call, async move {
        let result = match message {
            abi::POA_STOPPING => {
                own.receiver.lock().await.handle_message(ControlMessage::Stopping).await
            }
            _ => Err(DeliveryError::transient(error("an unknown message"))),
        };
        Ended::delivered(result)
    });
}

pub(super) unsafe extern "C-unwind" fn terminate(instance: *mut c_void, call: Call) {
    // SAFETY: the host owns the instance.
    let instance = unsafe { share::<Instance>(instance) };
    let own = instance.clone();
    instance.tasks.spawn(call, async move {
        own.receiver.lock().await.terminate().await;
        Ended::ok()
    });
}
