//! One call of a plugin: bounded in time, and a panic stays inside.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::{BuildError, DeliveryError, Receiver};

/// Why a call of a receiver did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    Transient(String),
    Permanent { items: Vec<usize>, reason: String },
    Panicked(String),
    TimedOut(Duration),
}

impl Failure {
    /// Whether the instance may be in any state now.
    pub(super) fn breaks(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::TimedOut(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(reason) => f.write_str(reason),
            Self::Permanent { reason, .. } => write!(f, "not deliverable: {reason}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut(after) => {
                let after = humantime::format_duration(*after);
                write!(f, "no answer within {after}; raise `timeout` if that is too short")
            }
        }
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Transient(source) => Self::Transient(chain(&*source)),
            DeliveryError::Permanent { items, source } => {
                Self::Permanent { items, reason: chain(&*source) }
            }
        }
    }
}

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries print the source and return it as well.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
        .to_owned()
}

/// Where a plugin can be reached; nowhere when it panics over the question, which is no reason not to run it.
pub(crate) fn endpoints(ask: impl FnOnce() -> Vec<String>) -> Vec<String> {
    std::panic::catch_unwind(AssertUnwindSafe(ask)).unwrap_or_default()
}

/// Runs a call to its end, for at most `timeout`.
///
/// The call is to be made within the future given here, so that a panic before its first `await` stays inside, too.
pub(crate) async fn attempt(
    timeout: Duration,
    call: impl Future<Output = Result<(), DeliveryError>>,
) -> Result<(), Failure> {
    guarded(timeout, call).await?.map_err(Failure::from)
}

/// Builds a receiver, for at most `timeout`.
pub(crate) async fn build(
    timeout: Duration,
    call: impl Future<Output = Result<Box<dyn Receiver>, BuildError>>,
) -> Result<Box<dyn Receiver>, Failure> {
    guarded(timeout, call).await?.map_err(|error| Failure::Transient(chain(&error)))
}

async fn guarded<T>(timeout: Duration, call: impl Future<Output = T>) -> Result<T, Failure> {
    let caught = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(timeout, caught).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => Err(Failure::Panicked(panic_message(&*panic))),
        Err(_) => Err(Failure::TimedOut(timeout)),
    }
}
