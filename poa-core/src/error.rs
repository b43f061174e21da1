//! Errors and panics of plugins, as text for operators.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

/// An error and its causes, on one line.
///
/// ```
/// use poa_core::{PluginError, error_chain};
///
/// let cause = std::io::Error::other("connection reset");
/// let error = PluginError::new("the feed ended").with_source(cause);
/// assert_eq!(error_chain(&error), "the feed ended: connection reset");
/// ```
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries include the source in their text and return it as well.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The message of a panic.
///
/// ```
/// use poa_core::panic_message;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let task = tokio::spawn(async { panic!("no such sensor: {}", 7) });
/// let failed = task.await.unwrap_err();
/// assert_eq!(panic_message(&*failed.into_panic()), "no such sensor: 7");
/// # }
/// ```
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
        .to_owned()
}

/// The reason why a call of a plugin did not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    Panicked(String),
    TimedOut(Duration),
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut(after) => {
                write!(f, "no answer within {}", humantime::format_duration(*after))
            }
        }
    }
}

/// Runs a call of a plugin for at most `timeout`; panics are contained.
///
/// Create the call inside this future, so that a panic before its first `await` is contained as well.
pub(crate) async fn guarded<T>(
    timeout: Duration,
    call: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    tokio::time::timeout(timeout, unpanicked(call))
        .await
        .unwrap_or(Err(Interrupted::TimedOut(timeout)))
}

/// Runs a call of a plugin to its end; panics are contained.
pub(crate) async fn unpanicked<T>(call: impl Future<Output = T>) -> Result<T, Interrupted> {
    let caught = AssertUnwindSafe(call).catch_unwind().await;
    caught.map_err(|panic| Interrupted::Panicked(panic_message(&*panic)))
}

/// Runs a short call of a plugin; returns the default value if it panics.
pub(crate) fn or_default<T: Default>(call: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_default()
}
