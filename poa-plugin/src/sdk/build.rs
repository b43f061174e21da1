//! Building what a kind makes, on the runtime of the plugin.

use poa_core::config::Problem;

use super::context::{self, Known};
use super::kind::guard;
use super::task::{Completion, Ended, caught, runtime};
use crate::abi::{self, Build, Call};

/// Completes the call with what `make` makes of what the host says.
///
/// # Safety
/// `build` is lent by the host until `call` is completed.
pub(super) unsafe fn on_runtime<M, F>(threads: usize, build: *const Build, call: Call, make: M)
where
    M: FnOnce(Known) -> F + Send + 'static,
    F: Future<Output = Ended> + Send + 'static,
{
    let completion = Completion::of(call);
    // SAFETY: the caller vouches for it.
    let known = guard(|| unsafe { context::read(build, call.host) });
    let (known, runtime) = match known.map(|known| Ok((known?, runtime(threads)?))) {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return completion.complete(&Ended::not_built(&error)),
        Err(panic) => return completion.complete(&Ended::new(abi::POA_PANICKED, panic)),
    };
    runtime.spawn(async move {
        let built = caught(async move { make(known).await }).await;
        completion.complete(&built.unwrap_or_else(|panic| Ended::new(abi::POA_PANICKED, panic)));
    });
}

/// The configuration is not one of this kind.
pub(super) fn misconfigured(problems: &[Problem]) -> Ended {
    let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Ended::new(abi::POA_PERMANENT, text.join("; "))
}
