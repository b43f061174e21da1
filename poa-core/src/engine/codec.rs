//! Events as bytes: one format for every engine that stores or sends them.
//!
//! A record is: its kind (1 byte), the time in microseconds (8, little-endian), then for a message its idempotency key if it has
//! one (16), its assigns if it has any (length in 2 bytes, JSON), its format (1), id (16), data type (length in 1 byte, name), agent
//! id (length in 2 bytes, text) and the payload; for a change of activity the agent id.

use bytes::Bytes;

use super::Event;
use super::Fingerprint;
use crate::message::Stored;
use crate::{
    Activity, AgentId, Assigns, DataType, DataTypes, Draft, Format, IdempotencyKey, Message,
    MessageId, MessageType, Payload, Timestamp,
};

const DATA: u8 = 1;
const BYE: u8 = 2;
const ACTIVE: u8 = 3;
const INACTIVE: u8 = 4;
/// Added to the kind of a message that has an idempotency key.
const KEYED: u8 = 0x80;
/// Added to the kind of a message that has assigns.
const ASSIGNED: u8 = 0x40;
const FLAGS: u8 = KEYED | ASSIGNED;

/// The offset of the time in every record.
const TIME: usize = 1;

const JSON: u8 = 0;
const MESSAGE_PACK: u8 = 1;

/// Appends an event to `out`.
///
/// ```
/// use poa_core::engine::{Decoded, Event, decode, encode};
/// use poa_core::{Activity, AgentId, DataTypes, Timestamp};
///
/// let change = Activity::new(AgentId::new("pump-7")?, true, Timestamp::now());
/// let mut record = Vec::new();
/// encode(&Event::Activity(change.clone()), &mut record);
///
/// // Read back after a restart, perhaps with other data types, or by another node.
/// let types = DataTypes::new(["readings"])?;
/// let Decoded::Event(Event::Activity(read)) = decode(&record, &types) else { panic!("written above") };
/// assert_eq!(read, change);
/// // Damage is reported, never a panic.
/// assert!(matches!(decode(&record[..3], &types), Decoded::Unreadable));
/// # Ok::<(), poa_core::BoxError>(())
/// ```
pub fn encode(event: &Event, out: &mut Vec<u8>) {
    match event {
        Event::Message(message) => encode_message(message, out),
        Event::Activity(change) => {
            out.push(if change.active { ACTIVE } else { INACTIVE });
            out.extend_from_slice(&change.since.as_micros().to_le_bytes());
            out.extend_from_slice(change.agent_id.as_str().as_bytes());
        }
    }
}

fn encode_message(message: &Message, out: &mut Vec<u8>) {
    let start = out.len();
    let unstamped = encode_content(&Content::from(message), out);
    unstamped.stamp(&mut out[start..], message.id(), message.received_at());
}

/// Appends the record of a message that is not accepted yet, so that only its id and its time are missing.
///
/// An engine whose senders take a lock can so encode before it takes it.
///
/// See [`Unstamped`] for an example.
pub fn encode_draft(draft: &Draft, out: &mut Vec<u8>) -> Unstamped {
    encode_content(&Content::from(draft), out)
}

/// The place of the id in a record of [`encode_draft`].
///
/// ```
/// use poa_core::engine::{Event, IdGenerator, encode, encode_draft};
/// use poa_core::{AgentId, DataTypes, Draft, Message, Payload, Timestamp};
///
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({"bar": 3.2}))?);
/// let mut record = Vec::new();
/// let unstamped = encode_draft(&draft, &mut record);
/// // Accepted:
/// let now = Timestamp::now();
/// let id = IdGenerator::new().next(now);
/// unstamped.stamp(&mut record, id, now);
///
/// let mut whole = Vec::new();
/// encode(&Event::Message(Message::stamp(draft, id, now)), &mut whole);
/// assert_eq!(record, whole);
/// # Ok::<(), poa_core::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a record without its id and time must not be stored"]
pub struct Unstamped {
    id: usize,
}

impl Unstamped {
    /// Completes the record, which begins with the first byte that [`encode_draft`] appended.
    ///
    /// # Panics
    /// When the bytes are not this record.
    pub fn stamp(self, record: &mut [u8], id: MessageId, received_at: Timestamp) {
        record[TIME..TIME + 8].copy_from_slice(&received_at.as_micros().to_le_bytes());
        record[self.id..self.id + 16].copy_from_slice(id.as_bytes());
    }
}

/// The common content of a draft and its message.
struct Content<'a> {
    message_type: MessageType,
    key: Option<IdempotencyKey>,
    assigns: &'a Assigns,
    payload: &'a Payload,
    data_type: &'a DataType,
    agent_id: &'a AgentId,
}

impl<'a> From<&'a Draft> for Content<'a> {
    fn from(draft: &'a Draft) -> Self {
        Self {
            message_type: draft.message_type(),
            key: draft.idempotency_key(),
            assigns: draft.assigns(),
            payload: draft.payload(),
            data_type: draft.data_type(),
            agent_id: draft.agent_id(),
        }
    }
}

impl<'a> From<&'a Message> for Content<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            message_type: message.message_type(),
            key: message.idempotency_key(),
            assigns: message.assigns(),
            payload: message.payload(),
            data_type: message.data_type(),
            agent_id: message.agent_id(),
        }
    }
}

/// Leaves the time and the id empty.
fn encode_content(content: &Content<'_>, out: &mut Vec<u8>) -> Unstamped {
    let start = out.len();
    let kind = match content.message_type {
        MessageType::Data => DATA,
        MessageType::Bye => BYE,
    };
    let keyed = if content.key.is_some() { KEYED } else { 0 };
    let assigned = if content.assigns.is_empty() { 0 } else { ASSIGNED };
    out.push(kind | keyed | assigned);
    out.extend_from_slice(&[0; 8]);
    if let Some(key) = content.key {
        out.extend_from_slice(key.as_bytes());
    }
    if !content.assigns.is_empty() {
        let text = content.assigns.to_json();
        // It fits: assigns have at most 4 KiB.
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.push(match content.payload.format() {
        Format::Json => JSON,
        Format::MessagePack => MESSAGE_PACK,
    });
    let id = out.len() - start;
    out.extend_from_slice(&[0; 16]);
    let (data_type, agent) = (content.data_type.name(), content.agent_id.as_str());
    // Both fit: a data type's name has at most 255 bytes, an agent id at most 256.
    out.push(data_type.len() as u8);
    out.extend_from_slice(data_type.as_bytes());
    out.extend_from_slice(&(agent.len() as u16).to_le_bytes());
    out.extend_from_slice(agent.as_bytes());
    out.extend_from_slice(content.payload.bytes());
    Unstamped { id }
}

/// The content of a record.
///
/// See [`encode`] for an example.
#[derive(Debug)]
pub enum Decoded {
    /// An event.
    Event(Event),
    /// A message of an undeclared type with this name.
    UnknownType(Box<str>),
    /// Not a record of this format.
    Unreadable,
}

/// Reads what [`encode`] wrote. The payload is copied.
///
/// See [`encode`] for an example.
#[must_use]
pub fn decode(record: &[u8], types: &DataTypes) -> Decoded {
    let mut input = Input(record);
    let Some((kind, time)) = input.head() else { return Decoded::Unreadable };
    let message = |message_type| decode_message(input, kind, types, time, message_type);
    match kind & !FLAGS {
        DATA => message(MessageType::Data),
        BYE => message(MessageType::Bye),
        ACTIVE | INACTIVE => match agent_id(input.0) {
            Some(agent) => {
                Decoded::Event(Event::Activity(Activity::new(agent, kind == ACTIVE, time)))
            }
            None => Decoded::Unreadable,
        },
        _ => Decoded::Unreadable,
    }
}

/// The identity of a stored message.
///
/// See [`trace`] for an example.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its id.
    pub id: MessageId,
    /// The time at which it was received.
    pub received_at: Timestamp,
    /// Its idempotency key, and the fingerprint of its content.
    pub key: Option<(IdempotencyKey, Fingerprint)>,
}

/// Reads only the identity of a message; `None` for any other record.
///
/// ```
/// use poa_core::engine::{Event, IdGenerator, encode, trace};
/// use poa_core::{AgentId, DataTypes, Draft, IdempotencyKey, Message, Payload, Timestamp};
///
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// let pump = AgentId::new("pump-7")?;
/// let key = IdempotencyKey::new(&pump, "42")?;
/// let draft = Draft::new(pump, readings, Payload::json(&serde_json::json!({"bar": 3.2}))?);
/// let now = Timestamp::now();
/// let message = Message::stamp(draft.with_idempotency_key(key), IdGenerator::new().next(now), now);
/// let mut record = Vec::new();
/// encode(&Event::Message(message.clone()), &mut record);
///
/// // At its start an engine reads the keys of its window, and leaves the payloads unread.
/// let found = trace(&record).expect("the record of a message");
/// assert_eq!((found.id, found.key), (message.id(), Some((key, message.fingerprint()))));
/// # Ok::<(), poa_core::BoxError>(())
/// ```
#[must_use]
pub fn trace(record: &[u8]) -> Option<Trace> {
    let mut input = Input(record);
    let (kind, received_at) = input.head()?;
    if !matches!(kind & !FLAGS, DATA | BYE) {
        return None;
    }
    let key = input.key(kind)?;
    input.assigns(kind)?;
    let (_, id, data_type, _) = input.parts()?;
    let key = key.map(|key| (key, Fingerprint::of(data_type, input.0)));
    Some(Trace { id, received_at, key })
}

fn decode_message(
    mut input: Input<'_>,
    kind: u8,
    types: &DataTypes,
    time: Timestamp,
    message_type: MessageType,
) -> Decoded {
    let Some(key) = input.key(kind) else { return Decoded::Unreadable };
    let Some(assigns) = input.assigns(kind) else { return Decoded::Unreadable };
    let Some((format, id, data_type, agent)) = input.parts() else { return Decoded::Unreadable };
    let Some(agent) = agent_id(agent) else { return Decoded::Unreadable };
    let Some(data_type) = types.get(data_type).cloned() else {
        return Decoded::UnknownType(data_type.into());
    };
    let Ok(assigns) = Assigns::from_json(assigns) else { return Decoded::Unreadable };
    let payload = Payload::new(format, Bytes::copy_from_slice(input.0));
    let stored = Stored { id, received_at: time, message_type, key, assigns };
    Decoded::Event(Event::Message(Message::restore(agent, data_type, payload, stored)))
}

fn agent_id(bytes: &[u8]) -> Option<AgentId> {
    AgentId::new(std::str::from_utf8(bytes).ok()?).ok()
}

#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The beginning of every record: its kind and its time.
    fn head(&mut self) -> Option<(u8, Timestamp)> {
        let kind = self.take(1)?[0];
        let micros = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        Some((kind, Timestamp::from_micros(micros)))
    }

    /// The key, if a record of this kind has one; `None` if the record is truncated.
    fn key(&mut self, kind: u8) -> Option<Option<IdempotencyKey>> {
        if kind & KEYED == 0 {
            return Some(None);
        }
        let bytes = self.take(16)?.try_into().ok()?;
        Some(Some(IdempotencyKey::from_bytes(bytes)))
    }

    /// The assigns as JSON, empty if a record of this kind has none; `None` if the record is truncated.
    fn assigns(&mut self, kind: u8) -> Option<&'a [u8]> {
        if kind & ASSIGNED == 0 {
            return Some(&[]);
        }
        let length = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        self.take(length.into())
    }

    /// The part of a message before its payload: format, id, data type and agent.
    fn parts(&mut self) -> Option<(Format, MessageId, &'a str, &'a [u8])> {
        let format = match self.take(1)? {
            [JSON] => Format::Json,
            [MESSAGE_PACK] => Format::MessagePack,
            _ => return None,
        };
        let id = MessageId::from_bytes(self.take(16)?.try_into().ok()?);
        let length = self.take(1)?[0];
        let data_type = std::str::from_utf8(self.take(length.into())?).ok()?;
        let length = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        let agent = self.take(length.into())?;
        Some((format, id, data_type, agent))
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> DataTypes {
        DataTypes::new(["system_metrics"]).unwrap()
    }

    fn message(format: Format, message_type: MessageType) -> Message {
        let data_type = types().get("system_metrics").unwrap().clone();
        let payload = Payload::new(format, Bytes::from_static(b"\x80"));
        let agent = AgentId::new("é".repeat(128)).unwrap();
        let draft = Draft::new(agent, data_type, payload).with_message_type(message_type);
        Message::stamp(
            draft,
            MessageId::from_bytes([7; 16]),
            Timestamp::from_micros(1_234_567_890_123_456),
        )
    }

    #[test]
    fn messages_round_trip() {
        for (format, kind) in
            [(Format::Json, MessageType::Data), (Format::MessagePack, MessageType::Bye)]
        {
            let message = message(format, kind);
            let mut bytes = Vec::new();
            encode(&Event::Message(message.clone()), &mut bytes);
            let Decoded::Event(Event::Message(found)) = decode(&bytes, &types()) else {
                panic!("not a message")
            };
            assert_eq!(format!("{found:?}"), format!("{message:?}"));
            assert_eq!(found.payload(), message.payload());
        }
    }

    #[test]
    fn keys_round_trip() {
        let plain = message(Format::Json, MessageType::Data);
        let key = IdempotencyKey::new(plain.agent_id(), "k").unwrap();
        let draft = Draft::new(
            plain.agent_id().clone(),
            plain.data_type().clone(),
            plain.payload().clone(),
        );
        let keyed =
            Message::stamp(draft.with_idempotency_key(key), plain.id(), plain.received_at());
        let [mut with, mut without] = [Vec::new(), Vec::new()];
        encode(&Event::Message(keyed), &mut with);
        encode(&Event::Message(plain.clone()), &mut without);
        let fingerprint = Fingerprint::of("system_metrics", plain.payload().bytes());
        let (id, received_at) = (plain.id(), plain.received_at());
        let keyed = Trace { id, received_at, key: Some((key, fingerprint)) };
        assert_eq!(trace(&with), Some(keyed));
        assert_eq!(trace(&without), Some(Trace { id, received_at, key: None }));
        let Decoded::Event(Event::Message(found)) = decode(&with, &types()) else {
            panic!("not a message")
        };
        assert_eq!((found.idempotency_key(), found.id()), (Some(key), plain.id()));
    }

    #[test]
    fn assigns_round_trip() {
        let plain = message(Format::Json, MessageType::Data);
        let assigns = Assigns::new().with("peer", "10.0.0.1").unwrap();
        let draft = Draft::new(
            plain.agent_id().clone(),
            plain.data_type().clone(),
            plain.payload().clone(),
        );
        let draft = draft.with_assigns(assigns.clone());
        let mut bytes = Vec::new();
        encode(&Event::Message(Message::stamp(draft, plain.id(), plain.received_at())), &mut bytes);
        assert_eq!(trace(&bytes).unwrap().id, plain.id());
        let Decoded::Event(Event::Message(found)) = decode(&bytes, &types()) else {
            panic!("not a message")
        };
        assert_eq!((found.assigns(), found.payload()), (&assigns, plain.payload()));
    }

    #[test]
    fn changes_round_trip() {
        for active in [true, false] {
            let since = Timestamp::from_micros(5);
            let change = Activity::new(AgentId::new("a").unwrap(), active, since);
            let mut bytes = Vec::new();
            encode(&Event::Activity(change.clone()), &mut bytes);
            let Decoded::Event(Event::Activity(found)) = decode(&bytes, &types()) else {
                panic!("not a change")
            };
            assert_eq!(found, change);
        }
    }

    #[test]
    fn truncated_records_are_not_read() {
        let mut bytes = Vec::new();
        encode(&Event::Message(message(Format::Json, MessageType::Data)), &mut bytes);
        let payload = 1;
        for end in 0..bytes.len() - payload {
            assert!(matches!(decode(&bytes[..end], &types()), Decoded::Unreadable), "{end}");
        }
        let none = DataTypes::default();
        assert!(
            matches!(decode(&bytes, &none), Decoded::UnknownType(name) if &*name == "system_metrics")
        );
    }
}
