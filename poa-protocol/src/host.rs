//! Conversions between the protocol and a host of [`poa_core`], for handlers that speak the
//! protocol.

use poa_core::auth::{AuthError, Principal};
use poa_core::{
    AgentId, DataType, DataTypes, Draft, IdempotencyKey, InvalidKey, Payload, ReceiptError,
    Refused, SendError,
};

use crate::{Data, Format, Refusal};

/// The seconds that an agent is asked to wait: short compared to a backlog, long compared to a
/// burst.
const RETRY_AFTER: u32 = 5;

impl Refusal {
    /// 503, for this reason.
    #[must_use]
    pub const fn not_now(why: &'static str) -> Self {
        Self::Unavailable { why, retry_after: RETRY_AFTER }
    }

    /// 429, because the sender's own share is used up.
    #[must_use]
    pub const fn over_share(what: &'static str) -> Self {
        Self::OverShare { what, retry_after: RETRY_AFTER }
    }

    /// 503, because the answer was not ready in time.
    #[must_use]
    pub const fn overdue() -> Self {
        Self::Overdue { retry_after: RETRY_AFTER }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Expired => Self::TokenExpired,
            AuthError::Busy => Self::not_now("too many tokens are being verified at once"),
            AuthError::Unavailable(source) => {
                tracing::error!("cannot verify credentials: {source}");
                Self::not_now("tokens cannot be verified now")
            }
            _ => Self::Unauthorized,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::BacklogFull { .. } => Self::BacklogFull { retry_after: RETRY_AFTER },
            Refused::KeyReused => Self::KeyReused,
            Refused::OverShare { what, .. } => Self::over_share(what),
            Refused::OverRate { what, retry_after, .. } => {
                // Whole seconds, rounded up.
                let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX);
                Self::OverShare { what, retry_after: seconds.saturating_add(1) }
            }
            Refused::LogBusy => Self::not_now("the disk is too slow"),
            Refused::Unavailable(_) => Self::not_now("the bus is not available"),
            Refused::NobodySubscribed(_) => Self::NobodySubscribed { retry_after: RETRY_AFTER },
            Refused::TooLarge { limit, .. } => Self::TooLarge { limit: limit as u64 },
            _ => Self::not_now("the server is stopping"),
        }
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        error.into_reason().into()
    }
}

impl From<ReceiptError> for Refusal {
    fn from(error: ReceiptError) -> Self {
        Self::not_now(match error {
            ReceiptError::Refused(refused) => return refused.into(),
            ReceiptError::NotDelivered => "a receiver could not deliver the message",
            ReceiptError::NotStored => {
                "the message could not be stored; the log of the server says why"
            }
            ReceiptError::TimedOut => "the message is stored, and not delivered yet",
            _ => "the server stopped before the message was delivered",
        })
    }
}

/// The agent of this id, if the user may send for it; without a user, no token is needed.
///
/// # Errors
/// [`Refusal::AgentMismatch`].
pub fn agent(caller: Option<&Principal>, id: &str) -> Result<AgentId, Refusal> {
    may_speak(caller, id)?;
    // The decoder has applied the same rules already.
    AgentId::new(id)
        .map_err(|_| Refusal::InvalidField { field: "id", problem: "is not an agent id" })
}

/// Whether the user may send for the agent of this id; without a user, no token is needed.
///
/// # Errors
/// [`Refusal::AgentMismatch`].
pub fn may_speak(caller: Option<&Principal>, id: &str) -> Result<(), Refusal> {
    match caller {
        Some(caller) if !caller.may_speak_for(id) => Err(Refusal::AgentMismatch),
        _ => Ok(()),
    }
}

/// The data type that a call names.
///
/// # Errors
/// [`Refusal::UnknownType`].
pub fn data_type(known: &DataTypes, data: &Data<'_>) -> Result<DataType, Refusal> {
    let unknown = || Refusal::unknown_type(&data.data_type, known.iter().map(DataType::name));
    known.get(&data.data_type).cloned().ok_or_else(unknown)
}

/// The message for a call with the data `bytes`; `field` is the name of the field with the key.
///
/// # Errors
/// [`Refusal::InvalidField`] when the key is not valid.
pub fn draft(
    agent: AgentId,
    data_type: DataType,
    (format, bytes): (Format, bytes::Bytes),
    (field, key): (&'static str, Option<Result<IdempotencyKey, InvalidKey>>),
    caller: Option<&Principal>,
) -> Result<Draft, Refusal> {
    let format = match format {
        Format::Json => poa_core::Format::Json,
        Format::MessagePack => poa_core::Format::MessagePack,
    };
    let draft = Draft::new(agent, data_type, Payload::new(format, bytes));
    let draft = match caller {
        Some(caller) => draft.with_sender(caller.user.clone()),
        None => draft,
    };
    let scoped = |key: IdempotencyKey| caller.map_or(key, |caller| key.of_user(&caller.user));
    let problem = "must have 1 to 255 bytes and no control characters";
    match key {
        Some(Ok(key)) => Ok(draft.with_idempotency_key(scoped(key))),
        Some(Err(InvalidKey)) => Err(Refusal::InvalidField { field, problem }),
        None => Ok(draft),
    }
}
