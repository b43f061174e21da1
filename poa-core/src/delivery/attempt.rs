//! One call of a receiver: limited in time, with panics contained.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::error::{Interrupted, chain, guarded};
use crate::{DeliveryError, Rejected};

/// The reason why a call of a receiver did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    Transient { reason: String, retry_after: Option<Duration> },
    Misconfigured(String),
    Permanent { items: Vec<usize>, reason: String },
    Rejected(Vec<Rejected>),
    Panicked(String),
    TimedOut(Duration),
}

impl Failure {
    /// Whether the state of the instance is unknown now.
    pub(super) fn breaks(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::TimedOut(_))
    }

    /// Whether the error is permanent.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Permanent { .. } | Self::Rejected(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient { reason, .. } => f.write_str(reason),
            Self::Misconfigured(reason) => write!(f, "misconfigured: {reason}"),
            Self::Permanent { reason, .. } => write!(f, "not deliverable: {reason}"),
            Self::Rejected(items) => {
                write!(f, "{} messages of a batch were rejected", items.len())?;
                items.first().map_or(Ok(()), |first| write!(f, ": {}", first.reason))
            }
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
            DeliveryError::Transient { source, retry_after } => {
                Self::Transient { reason: chain(&*source), retry_after }
            }
            DeliveryError::Misconfigured(source) => Self::Misconfigured(chain(&*source)),
            DeliveryError::Permanent { items, source } => {
                Self::Permanent { items, reason: chain(&*source) }
            }
            DeliveryError::Rejected(items) => Self::Rejected(items),
        }
    }
}

impl From<Interrupted> for Failure {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Panicked(message) => Self::Panicked(message),
            Interrupted::TimedOut(after) => Self::TimedOut(after),
        }
    }
}

/// Runs a call to its end, for at most `timeout`.
pub(crate) async fn attempt(
    timeout: Duration,
    call: impl Future<Output = Result<(), DeliveryError>>,
) -> Result<(), Failure> {
    Ok(guarded(timeout, call).await??)
}
