//! The reasons why messages were not delivered.

use std::time::Duration;

use crate::BoxError;

/// The reason why messages were not delivered. The receiver knows its destination, so it decides which errors are transient.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use poa_core::DeliveryError;
///
/// /// The receiver knows its destination: can a retry of the same messages succeed?
/// fn classify(error: Error) -> DeliveryError {
///     match error.kind() {
///         ErrorKind::NotFound | ErrorKind::PermissionDenied => DeliveryError::misconfigured(error),
///         ErrorKind::InvalidData => DeliveryError::permanent(error),
///         _ => DeliveryError::transient(error),
///     }
/// }
///
/// assert!(matches!(classify(ErrorKind::TimedOut.into()), DeliveryError::Transient { .. }));
/// assert!(matches!(classify(ErrorKind::NotFound.into()), DeliveryError::Misconfigured(_)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// A transient error: connection lost, table locked, throttled. The host retries the batch with increasing waits.
    #[error("not delivered, a retry may succeed")]
    Transient {
        /// The cause.
        #[source]
        source: BoxError,
        /// The wait that the destination asked for, if any.
        retry_after: Option<Duration>,
    },
    /// An error that lasts until the configuration or the destination is corrected: wrong credentials, a table or path that does not
    /// exist. The host retries the batch with the longest wait, and reports the receiver as misconfigured in `/status`.
    #[error("not delivered, the configuration is wrong")]
    Misconfigured(#[source] BoxError),
    /// A permanent error for these items of the batch (by index). Without any index: for some of them, which the host isolates by
    /// delivering the halves.
    #[error("not deliverable")]
    Permanent {
        /// The items that cannot be delivered; empty if the receiver cannot identify them.
        items: Vec<usize>,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// These items of the batch cannot be delivered; all others are delivered, and are not delivered again.
    #[error("{} messages of the batch were rejected", .0.len())]
    Rejected(Vec<Rejected>),
}

/// A message of a batch that cannot be delivered, while others of the batch were.
///
/// ```
/// use poa_core::{DeliveryError, Rejected};
///
/// /// The outcome of a batch for which the database answered row by row: stored rows are not delivered again.
/// fn outcome(rows: &[Result<(), String>]) -> Result<(), DeliveryError> {
///     let failed = rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref().err()?)));
///     let rejected: Vec<_> = failed.map(|(index, why)| Rejected::new(index, why)).collect();
///     if rejected.is_empty() { Ok(()) } else { Err(DeliveryError::rejected(rejected)) }
/// }
///
/// let error = outcome(&[Ok(()), Err("value out of range".into())]).unwrap_err();
/// assert_eq!(error.to_string(), "1 messages of the batch were rejected");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// Its index in the batch.
    pub item: usize,
    /// The reason.
    pub reason: String,
}

impl Rejected {
    /// The message of this index was rejected for this reason.
    pub fn new(item: usize, reason: impl Into<String>) -> Self {
        Self { item, reason: reason.into() }
    }
}

impl DeliveryError {
    /// A transient error.
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self::Transient { source: source.into(), retry_after: None }
    }

    /// A transient error; the destination asked for this wait.
    pub fn transient_after(wait: Duration, source: impl Into<BoxError>) -> Self {
        Self::Transient { source: source.into(), retry_after: Some(wait) }
    }

    /// An error that lasts until the configuration or the destination is corrected.
    pub fn misconfigured(source: impl Into<BoxError>) -> Self {
        Self::Misconfigured(source.into())
    }

    /// Some messages of the batch cannot be delivered, and the receiver cannot identify them.
    pub fn permanent(source: impl Into<BoxError>) -> Self {
        Self::Permanent { items: Vec::new(), source: source.into() }
    }

    /// These messages of the batch cannot be delivered.
    pub fn permanent_for(items: Vec<usize>, source: impl Into<BoxError>) -> Self {
        Self::Permanent { items, source: source.into() }
    }

    /// These messages of the batch cannot be delivered; all others are delivered.
    #[must_use]
    pub fn rejected(items: Vec<Rejected>) -> Self {
        Self::Rejected(items)
    }
}
