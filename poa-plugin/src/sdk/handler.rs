//! The functions of a handler.

use std::ffi::c_void;
use std::sync::Arc;

use poa_core::auth::Authenticator;
use poa_core::{BuildContext, CustomHandler, HandlerContext, HandlerKind, MemoryBudget, Relayed};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::auth::HostAuthenticator;
use super::build::{misconfigured, on_runtime};
use super::context::{self, HostRef};
use super::held::{self, share};
use super::kind::write;
use super::relay::HostRelay;
use super::task::{Ended, Tasks, chain};
use crate::abi::{self, Build, Call, Sink};

/// The limit on the memory of request bodies in one run of a handler.
const MEMORY: u64 = 64 << 20;

/// A handler owned by the host.
struct Instance {
    handler: Mutex<Box<dyn CustomHandler>>,
    cx: BuildContext,
    host: HostRef,
    endpoints: String,
    shutdown: CancellationToken,
    revocations: watch::Sender<u64>,
    tasks: Tasks,
}

impl Instance {
    /// The context of the run with this number.
    fn context(&self, number: u64) -> HandlerContext {
        let authenticator = self.cx.has_authenticator().then(|| {
            let revocations = self.revocations.subscribe();
            Arc::new(HostAuthenticator::new(self.host, number, revocations))
                as Arc<dyn Authenticator>
        });
        HandlerContext::relayed(
            self.cx.name(),
            Relayed {
                relay: Arc::new(HostRelay::new(self.host, number)),
                data_types: self.cx.data_types().clone(),
                authenticator,
                memory: MemoryBudget::new(MEMORY),
                telemetry: self.cx.telemetry().clone(),
                shutdown: self.shutdown.clone(),
            },
        )
    }
}

/// Builds a handler on the plugin's runtime.
///
/// # Safety
/// `build` is lent by the host until `call` is completed.
pub(super) unsafe fn build(
    kind: fn() -> Arc<HandlerKind>,
    threads: usize,
    build: *const Build,
    call: Call,
) {
    // SAFETY: the caller guarantees it.
    unsafe { on_runtime(threads, build, call, move |known, runtime| make(kind, known, runtime)) }
}

async fn make(
    kind: fn() -> Arc<HandlerKind>,
    known: context::Known,
    runtime: Handle,
) -> Result<Instance, Ended> {
    let factory = match kind().configure(known.config) {
        Ok(factory) => factory,
        Err(problems) => return Err(misconfigured(&problems)),
    };
    match factory(&known.cx).await {
        Ok(handler) => Ok(Instance {
            endpoints: serde_json::json!(handler.endpoints()).to_string(),
            handler: Mutex::new(handler),
            cx: known.cx,
            host: known.host,
            shutdown: CancellationToken::new(),
            revocations: watch::Sender::default(),
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

pub(super) unsafe extern "C-unwind" fn run(instance: *mut c_void, number: u64, call: Call) {
    // SAFETY: the host owns the instance.
    let instance = unsafe { share::<Instance>(instance) };
    let own = instance.clone();
    instance.tasks.spawn(call, async move {
        let cx = own.context(number);
        match own.handler.lock().await.run(cx).await {
            Ok(()) => Ended::ok(),
            Err(error) => Ended::new(abi::POA_TRANSIENT, chain(&error)),
        }
    });
}

pub(super) unsafe extern "C-unwind" fn shutdown(instance: *mut c_void) {
    // SAFETY: the host owns the instance.
    unsafe { share::<Instance>(instance) }.shutdown.cancel();
}

pub(super) unsafe extern "C-unwind" fn revoked(instance: *mut c_void) {
    // SAFETY: the host owns the instance.
    unsafe { share::<Instance>(instance) }.revocations.send_modify(|count| *count += 1);
}
