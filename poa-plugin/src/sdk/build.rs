//! Builds an instance of a kind, on the runtime of the plugin.

use std::sync::Arc;

use poa_core::config::Problem;
use tokio::runtime::Handle;

use super::context::{self, Known};
use super::held::Held;
use super::kind::guard;
use super::runtime::OwnRuntime;
use super::task::{Completion, Ended, caught};
use crate::abi::{self, Build, Call};

/// Completes the call with the result of `make` for the host's context, on the instance's own runtime.
///
/// # Safety
/// `build` is lent by the host until `call` is completed.
pub(super) unsafe fn on_runtime<T, M, F>(threads: usize, build: *const Build, call: Call, make: M)
where
    T: Send + Sync + 'static,
    M: FnOnce(Known, Handle) -> F + Send + 'static,
    F: Future<Output = Result<T, Ended>> + Send + 'static,
{
    let completion = Completion::of(call);
    // SAFETY: the caller guarantees it.
    let known = guard(|| unsafe { context::read(build, call.host) });
    let started = known.map(|known| {
        let known = known?;
        let runtime = OwnRuntime::start(threads, known.host)?;
        Ok((known, runtime))
    });
    let (known, runtime) = match started {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return completion.complete(&Ended::not_built(&error)),
        Err(panic) => return completion.complete(&Ended::new(abi::POA_PANICKED, panic)),
    };
    let (handle, host) = (runtime.handle(), known.host);
    handle.clone().spawn(async move {
        let built = caught(async move { make(known, handle).await }).await;
        let ended = match built {
            Ok(Ok(instance)) => Ended::built(Held::new(Arc::new(instance), runtime, host)),
            Ok(Err(ended)) => ended,
            Err(panic) => Ended::new(abi::POA_PANICKED, panic),
        };
        completion.complete(&ended);
    });
}

/// The configuration does not fit this kind.
pub(super) fn misconfigured(problems: &[Problem]) -> Ended {
    let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Ended::new(abi::POA_PERMANENT, text.join("; "))
}
