//! Messages without a host.

use poa_core::{AgentId, DataTypes, Draft, Format, Message, MessageId, Payload, Timestamp};
use serde::Serialize;

use crate::METRICS;

/// Creates messages for a receiver that is tested directly, each with an id and a time of receipt of its own, both increasing.
///
/// ```
/// use poa_testkit::Samples;
/// use serde_json::json;
///
/// let mut samples = Samples::new(["system_metrics"]);
/// let first = samples.message("agent-1", "system_metrics", &json!({"cpu_load": 1.5}));
/// let second = samples.message("agent-1", "system_metrics", &json!({}));
/// assert!(first.id() < second.id() && first.received_at() < second.received_at());
/// ```
#[derive(Debug)]
pub struct Samples {
    data_types: DataTypes,
    /// The time of receipt of the last one, in microseconds.
    last: u64,
}

/// The time of receipt of the first sample: 2026-01-31T12:00:00Z.
const FIRST: u64 = 1_769_860_800_000_000;

impl Default for Samples {
    fn default() -> Self {
        Self::new(METRICS)
    }
}

impl Samples {
    /// Samples of these data types.
    ///
    /// # Panics
    /// When a name is not a valid data type.
    #[must_use]
    pub fn new<N: AsRef<str>>(data_types: impl IntoIterator<Item = N>) -> Self {
        let data_types = DataTypes::new(data_types).unwrap_or_else(|error| panic!("{error}"));
        Self { data_types, last: FIRST }
    }

    /// Samples of [`METRICS`], received from now on; see [`starting_now`](Self::starting_now).
    #[must_use]
    pub fn from_now() -> Self {
        Self::default().starting_now()
    }

    /// The same, received from now on, so that their ids are new to a store that other tests have used.
    #[must_use]
    pub fn starting_now(mut self) -> Self {
        self.last = Timestamp::now().as_micros();
        self
    }

    /// The first of the data types.
    pub(crate) fn first_type(&self) -> String {
        self.types().into_iter().next().expect("samples need a data type")
    }

    /// The names of the data types.
    pub(crate) fn types(&self) -> Vec<String> {
        self.data_types.iter().map(|data_type| data_type.name().to_owned()).collect()
    }

    /// A message of this agent with this data, any value with a JSON form.
    ///
    /// # Panics
    /// When the agent, the data type or the data are not valid.
    pub fn message(&mut self, agent: &str, data_type: &str, data: &impl Serialize) -> Message {
        let payload = Payload::json(data).unwrap_or_else(|error| panic!("{error}"));
        self.message_of(agent, data_type, payload)
    }

    /// A message of this agent with this JSON text as data, which is not checked.
    ///
    /// # Panics
    /// When the agent or the data type are not valid.
    pub fn json(&mut self, agent: &str, data_type: &str, data: &str) -> Message {
        let payload = Payload::new(Format::Json, data.to_owned().into());
        self.message_of(agent, data_type, payload)
    }

    /// A message of this agent with this payload.
    ///
    /// # Panics
    /// When the agent or the data type are not valid.
    pub fn message_of(&mut self, agent: &str, data_type: &str, payload: Payload) -> Message {
        self.stamp(draft(&self.data_types, agent, data_type, payload))
    }

    /// The message that a host would make from this draft.
    pub fn stamp(&mut self, draft: Draft) -> Message {
        self.last += 1;
        Message::stamp(draft, id_of(self.last, 0), Timestamp::from_micros(self.last))
    }

    /// The messages that a host would make from a batch of drafts: all received in the same microsecond, like the items of one request.
    pub fn stamp_all(&mut self, drafts: impl IntoIterator<Item = Draft>) -> Vec<Message> {
        self.last += 1;
        let received = Timestamp::from_micros(self.last);
        let numbered = (0..).zip(drafts);
        numbered.map(|(n, draft)| Message::stamp(draft, id_of(self.last, n), received)).collect()
    }

    /// A draft of this agent; see [`message`](Self::message).
    ///
    /// # Panics
    /// When the agent, the data type or the data are not valid.
    #[must_use]
    pub fn draft(&self, agent: &str, data_type: &str, data: &impl Serialize) -> Draft {
        let payload = Payload::json(data).unwrap_or_else(|error| panic!("{error}"));
        draft(&self.data_types, agent, data_type, payload)
    }
}

/// An id with the layout of a UUID version 7, of the message with this number among those of its microsecond.
fn id_of(micros: u64, number: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(micros / 1000).to_be_bytes()[2..]);
    // The microsecond within the millisecond, at the same place as in the ids of a host.
    bytes[6..8].copy_from_slice(&(0x7000 | ((micros % 1000) as u16) << 2).to_be_bytes());
    // The number of the message, before that of the host, so that ids grow.
    let node = micros & ((1 << 44) - 1);
    bytes[8..].copy_from_slice(&(number << 44 | node | 1 << 63).to_be_bytes());
    MessageId::from_bytes(bytes)
}

pub(crate) fn draft(
    data_types: &DataTypes,
    agent: &str,
    data_type: &str,
    payload: Payload,
) -> Draft {
    let agent = AgentId::new(agent).unwrap_or_else(|error| panic!("{agent:?}: {error}"));
    let Some(data_type) = data_types.get(data_type) else {
        panic!("`{data_type}` is not among the data types {data_types:?}");
    };
    Draft::new(agent, data_type.clone(), payload)
}
