//! The reasons why messages are refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Drafts;
use crate::Draft;

/// The reason why the bus refuses a message.
///
/// ```
/// use poa_core::Refused;
///
/// /// The status of a handler that speaks HTTP; a transient one goes with `Retry-After`.
/// fn status(refused: &Refused) -> u16 {
///     match refused {
///         Refused::OverRate { .. } | Refused::OverShare { .. } => 429,
///         Refused::TooLarge { .. } => 413,
///         refused if refused.is_transient() => 503,
///         _ => 422,
///     }
/// }
///
/// assert_eq!(status(&Refused::Stopping), 503);
/// assert!(Refused::Stopping.retry_after().is_some());
/// assert_eq!((status(&Refused::KeyReused), Refused::KeyReused.retry_after()), (422, None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The backlog of this receiver is full.
    #[error("the backlog of receiver `{receiver}` is full; try again later")]
    BacklogFull {
        /// The receiver with the full backlog.
        receiver: Arc<str>,
    },
    /// The sender has used up its share of a common resource; others are not refused.
    #[error("over the share of one {of}: {what}; try again later")]
    OverShare {
        /// The party with the share.
        of: Party,
        /// The resource: `backlog`, `idempotency keys`, `changes of activity`.
        what: &'static str,
    },
    /// The sender exceeds its rate; others are not refused.
    #[error("over the rate of one {of}: {what}; try again in {}", humantime::format_duration(Duration::from_secs(retry_after.as_secs() + 1)))]
    OverRate {
        /// The party with the rate.
        of: Party,
        /// The limited quantity: `messages a second`, `bytes a second`.
        what: &'static str,
        /// The time after which it may send again.
        retry_after: Duration,
    },
    /// More messages wait to be written than memory may hold.
    #[error("the disk is too slow; try again later")]
    LogBusy,
    /// The engine has no connection to its servers.
    #[error("the bus is not available: {0}; try again later")]
    Unavailable(Arc<str>),
    /// The message is larger than the engine can carry.
    #[error("the message has {bytes} bytes, more than the {limit} that the bus can carry")]
    TooLarge {
        /// The size of the message.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No receiver subscribes to the data type.
    #[error(
        "no receiver subscribes to data type `{0}`; subscribe one to it, or set `unrouted = \"allow\"`"
    )]
    NobodySubscribed(Arc<str>),
    /// The data type does not come from this host's [`DataTypes`](crate::DataTypes).
    #[error("data type `{0}` belongs to another host; take it from this one's `data_types`")]
    ForeignDataType(String),
    /// A message with this idempotency key and different content was accepted before.
    #[error("another message was sent with this idempotency key; give every message its own")]
    KeyReused,
    /// The host is stopping.
    #[error("the host is stopping; try again later")]
    Stopping,
}

/// A party that has a share or a rate of its own.
///
/// ```
/// use std::time::Duration;
/// use poa_core::engine::{Party, Refused};
///
/// // One agent exceeds its rate, and the text of the refusal says whose it is; its neighbours are accepted.
/// let refused = Refused::OverRate {
///     of: Party::Agent,
///     what: "messages a second",
///     retry_after: Duration::from_millis(200),
/// };
/// assert_eq!(refused.to_string(), "over the rate of one agent: messages a second; try again in 1s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Party {
    /// One agent.
    Agent,
    /// One user, with all agents that it sends for.
    User,
    /// One address, or one network of IPv6.
    Address,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Address => "address",
        })
    }
}

impl Refused {
    /// Whether the same message may be accepted later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::BacklogFull { .. }
            | Self::OverShare { .. }
            | Self::OverRate { .. }
            | Self::LogBusy
            | Self::Unavailable(_)
            | Self::NobodySubscribed(_)
            | Self::Stopping => true,
            Self::TooLarge { .. } | Self::ForeignDataType(_) | Self::KeyReused => false,
        }
    }

    /// How long to wait before sending the message again; `None` if that does not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.is_transient().then(|| match self {
            Self::NobodySubscribed(_) => Duration::from_secs(30),
            Self::OverRate { retry_after, .. } => *retry_after,
            _ => Duration::from_secs(1),
        })
    }
}

/// Messages that were refused, and the reason. The caller gets them back.
///
/// ```
/// use poa_core::{Refused, SendError};
/// # use poa_core::{AgentId, DataTypes, Draft, Payload};
///
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// # let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({}))?);
/// # let result: Result<(), _> = Err(SendError::new(Refused::LogBusy, draft));
/// let mut later = Vec::new();
/// if let Err(error) = result {
///     // The messages come back, so a handler can keep them without having cloned each before it sent it.
///     match error.is_transient() {
///         true => later.extend(error.into_messages()),
///         false => println!("dropped: {error}"),
///     }
/// }
/// assert_eq!(later.len(), 1);
/// # Ok::<(), poa_core::BoxError>(())
/// ```
pub struct SendError(Box<(Refused, Drafts)>);

impl SendError {
    /// These messages are refused for this reason.
    #[must_use]
    pub fn new(reason: Refused, messages: impl Into<Drafts>) -> Self {
        Self(Box::new((reason, messages.into())))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &Refused {
        &self.0.0
    }

    /// The reason.
    #[must_use]
    pub fn into_reason(self) -> Refused {
        self.0.0
    }

    /// The messages, as they were sent.
    #[must_use]
    pub fn into_messages(self) -> Vec<Draft> {
        self.0.1.into_vec()
    }

    /// The reason, and the messages.
    #[must_use]
    pub fn into_parts(self) -> (Refused, Drafts) {
        *self.0
    }

    /// As [`Refused::is_transient`].
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.reason().is_transient()
    }

    /// As [`Refused::retry_after`].
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.reason().retry_after()
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = self.0.1.as_slice().len();
        f.debug_struct("SendError")
            .field("reason", self.reason())
            .field("messages", &messages)
            .finish()
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Self {
        error.into_reason()
    }
}

impl PartialEq<Refused> for SendError {
    fn eq(&self, reason: &Refused) -> bool {
        self.reason() == reason
    }
}
