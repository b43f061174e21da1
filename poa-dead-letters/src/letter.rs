use poa_core::Timestamp;

/// A dead letter without its data, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The number of the letter in this store.
    pub id: i64,
    /// The receiver that the message could not be delivered to.
    pub receiver: String,
    /// The id of the message.
    pub message_id: String,
    /// The agent that sent it.
    pub agent_id: String,
    /// Its data type.
    pub data_type: String,
    /// The reason why it was dead-lettered.
    pub reason: String,
    /// The number of delivery attempts.
    pub attempts: u32,
    /// The time it was received from the agent.
    pub received_at: Timestamp,
    /// The time of the first attempt.
    pub first_attempt: Timestamp,
    /// The time it was last dead-lettered.
    pub set_aside: Timestamp,
    /// The size of the data, in bytes.
    pub bytes: u64,
    /// Whether a replay was requested and has not succeeded yet.
    pub replay: bool,
}

/// A dead letter with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letter {
    /// Everything but the data.
    pub summary: Summary,
    /// `json` or `msgpack`.
    pub format: &'static str,
    /// The data as the agent sent it.
    pub payload: Vec<u8>,
}

/// Some of the letters in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those of one receiver.
    Receiver(String),
    /// The one with this number.
    Id(i64),
}

impl Which {
    /// A condition on the table of letters, and its parameter.
    pub(crate) fn condition(&self) -> (&'static str, rusqlite::types::Value) {
        match self {
            Self::All => ("?1 IS NULL", rusqlite::types::Value::Null),
            Self::Receiver(name) => ("receiver = ?1", name.clone().into()),
            Self::Id(id) => ("id = ?1", (*id).into()),
        }
    }
}
