//! Calls by the host, run on the plugin's own runtime.

use std::collections::HashMap;
use std::ffi::c_void;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use poa_core::{BoxError, BuildError, DeliveryError};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::held::Held;
use crate::abi::{self, Call, Host, Outcome};
use crate::sized;

/// The result of a call.
#[derive(Debug)]
pub(super) struct Ended {
    code: u32,
    text: String,
    items: Vec<u32>,
    instance: *mut c_void,
}

impl Ended {
    pub(super) fn new(code: u32, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), items: Vec::new(), instance: std::ptr::null_mut() }
    }

    pub(super) fn ok() -> Self {
        Self::new(abi::POA_OK, "")
    }

    /// With an instance, which the host owns from now on.
    pub(super) fn built<T>(instance: Held<T>) -> Self {
        Self { instance: instance.into_pointer(), ..Self::ok() }
    }

    pub(super) fn not_built(error: &BuildError) -> Self {
        let unavailable = matches!(error, BuildError::Unavailable(..));
        let code = if unavailable { abi::POA_TRANSIENT } else { abi::POA_PERMANENT };
        Self::new(code, chain(error))
    }

    pub(super) fn delivered(result: Result<(), DeliveryError>) -> Self {
        match result {
            Ok(()) => Self::ok(),
            Err(DeliveryError::Permanent { items, source }) => Self {
                items: items.into_iter().filter_map(|item| item.try_into().ok()).collect(),
                ..Self::new(abi::POA_PERMANENT, chain(&*source))
            },
            Err(DeliveryError::Transient { source, .. } | DeliveryError::Misconfigured(source)) => {
                Self::new(abi::POA_TRANSIENT, chain(&*source))
            }
            // The others come again, which an idempotent receiver does not mind.
            Err(DeliveryError::Rejected(items)) => Self {
                items: items.iter().filter_map(|rejected| rejected.item.try_into().ok()).collect(),
                ..Self::new(
                    abi::POA_PERMANENT,
                    items.first().map(|rejected| rejected.reason.clone()).unwrap_or_default(),
                )
            },
            Err(other) => Self::new(abi::POA_TRANSIENT, chain(&other)),
        }
    }
}

pub(super) use poa_core::{error_chain as chain, panic_message};

/// Completes a call with its result, or as cancelled if it is dropped without one.
pub(super) struct Completion(Option<Call>);

impl Completion {
    pub(super) fn of(call: Call) -> Self {
        Self(Some(call))
    }

    pub(super) fn complete(mut self, ended: &Ended) {
        self.say(ended);
    }

    fn say(&mut self, ended: &Ended) {
        let Some(call) = self.0.take() else { return };
        let outcome = Outcome {
            items: ended.items.as_ptr(),
            items_len: ended.items.len(),
            instance: ended.instance,
            ..Outcome::with_text(ended.code, &ended.text)
        };
        // SAFETY: the host's functions can be called until the process ends.
        let host = unsafe { sized::read::<Host>(call.host) };
        if let Some(complete) = host.ok().and_then(|host| host.complete) {
            // SAFETY: the host's own call, completed once, with a result that is lent.
            unsafe { complete(call.host, call.id, &outcome) }
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.say(&Ended::new(abi::POA_TRANSIENT, "cancelled"));
    }
}

/// The running calls of an instance.
#[derive(Debug)]
pub(super) struct Tasks {
    runtime: Handle,
    running: Arc<Mutex<HashMap<u64, AbortHandle>>>,
}

impl Tasks {
    /// The calls that are running.
    pub(super) fn on(runtime: Handle) -> Self {
        Self { runtime, running: Arc::default() }
    }

    /// Runs a call. A panic ends only this call.
    pub(super) fn spawn(&self, call: Call, work: impl Future<Output = Ended> + Send + 'static) {
        let completion = Completion::of(call);
        let running = self.running.clone();
        // Held until the task is recorded, so that it cannot be removed before.
        let mut tasks = self.running.lock();
        let task = self.runtime.spawn(async move {
            let ended =
                caught(work).await.unwrap_or_else(|panic| Ended::new(abi::POA_PANICKED, panic));
            running.lock().remove(&call.id);
            completion.complete(&ended);
        });
        tasks.insert(call.id, task.abort_handle());
    }

    /// Cancels a call at its current await.
    pub(super) fn cancel(&self, call: Call) {
        let task = self.running.lock().remove(&call.id);
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// The result of a future, or the message of its panic.
pub(super) async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
        }
    })
    .await
}

/// A text as an error.
pub(super) fn error(text: &str) -> BoxError {
    text.into()
}
