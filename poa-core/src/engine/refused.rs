//! Why messages are not taken.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Drafts;
use crate::Draft;

/// Why the bus does not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The backlog of this receiver is full.
    #[error("the backlog of receiver `{receiver}` is full; try again later")]
    BacklogFull {
        /// The receiver that is behind.
        receiver: Arc<str>,
    },
    /// The sender is over its share of what all of them have; others are not refused.
    #[error("over the share of one {of}: {what}; try again later")]
    OverShare {
        /// Whose share: `agent`, `user` or `address`.
        of: &'static str,
        /// Of what: `backlog`, `idempotency keys`, `changes of activity`.
        what: &'static str,
    },
    /// The sender sends faster than it may; others are not refused.
    #[error("over the rate of one {of}: {what}; try again in {}", humantime::format_duration(Duration::from_secs(retry_after.as_secs() + 1)))]
    OverRate {
        /// Whose rate: `agent`, `user` or `address`.
        of: &'static str,
        /// Of what: `messages a second`, `bytes a second`.
        what: &'static str,
        /// When it may send again.
        retry_after: Duration,
    },
    /// More is waiting to be written than memory may hold.
    #[error("the disk is too slow; try again later")]
    LogBusy,
    /// The engine is out of contact with the servers it runs on.
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
    /// The data type was not taken from this host's [`DataTypes`](crate::DataTypes).
    #[error("data type `{0}` belongs to another host; take it from this one's `data_types`")]
    ForeignDataType(String),
    /// A message with this idempotency key and other content was taken before.
    #[error("another message was sent with this idempotency key; give every message its own")]
    KeyReused,
    /// The host is stopping.
    #[error("the host is stopping; try again later")]
    Stopping,
}

impl Refused {
    /// Whether the same message may be taken later.
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

    /// How long to wait before the message is sent again; none when that does not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.is_transient().then(|| match self {
            Self::NobodySubscribed(_) => Duration::from_secs(30),
            Self::OverRate { retry_after, .. } => *retry_after,
            _ => Duration::from_secs(1),
        })
    }
}

/// Messages that were not taken, and why. They come back to the caller.
pub struct SendError(Box<(Refused, Drafts)>);

impl SendError {
    /// These messages are not taken, for this reason.
    #[must_use]
    pub fn new(reason: Refused, messages: impl Into<Drafts>) -> Self {
        Self(Box::new((reason, messages.into())))
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &Refused {
        &self.0.0
    }

    /// Why.
    #[must_use]
    pub fn into_reason(self) -> Refused {
        self.0.0
    }

    /// The messages, as they were sent.
    #[must_use]
    pub fn into_messages(self) -> Vec<Draft> {
        self.0.1.into_vec()
    }

    /// Why, and the messages.
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
