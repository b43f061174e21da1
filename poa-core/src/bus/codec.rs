//! How events stand in the log.
//!
//! A record is: what it is (1 byte), the time in microseconds (8, little-endian), then for a message its format (1), id (16), data
//! type (length in 1 byte, name), agent id (length in 2 bytes, text) and the payload; for a change of activity the agent id.

use bytes::Bytes;

use super::Event;
use crate::{
    Activity, AgentId, DataTypes, Draft, Format, Message, MessageId, MessageType, Payload,
    Timestamp,
};

const DATA: u8 = 1;
const BYE: u8 = 2;
const ACTIVE: u8 = 3;
const INACTIVE: u8 = 4;

const JSON: u8 = 0;
const MESSAGE_PACK: u8 = 1;

pub(super) fn encode(event: &Event, out: &mut Vec<u8>) {
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
    out.push(match message.message_type() {
        MessageType::Data => DATA,
        MessageType::Bye => BYE,
    });
    out.extend_from_slice(&message.received_at().as_micros().to_le_bytes());
    out.push(match message.payload().format() {
        Format::Json => JSON,
        Format::MessagePack => MESSAGE_PACK,
    });
    out.extend_from_slice(message.id().as_bytes());
    let (data_type, agent) = (message.data_type().name(), message.agent_id().as_str());
    // Both fit: a data type's name has at most 255 bytes, an agent id at most 256.
    out.push(data_type.len() as u8);
    out.extend_from_slice(data_type.as_bytes());
    out.extend_from_slice(&(agent.len() as u16).to_le_bytes());
    out.extend_from_slice(agent.as_bytes());
    out.extend_from_slice(message.payload().bytes());
}

/// What a record says.
#[derive(Debug)]
pub(super) enum Decoded {
    Event(Event),
    /// A message of a type that is no longer declared.
    UnknownType,
    /// No record of this format.
    Unreadable,
}

pub(super) fn decode(record: &[u8], types: &DataTypes) -> Decoded {
    let mut input = Input(record);
    let parts = (input.take(1), input.take(8));
    let (Some(&[kind]), Some(time)) = parts else { return Decoded::Unreadable };
    let micros = time.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let time = Timestamp::from_micros(micros);
    match kind {
        DATA => decode_message(input, types, time, MessageType::Data),
        BYE => decode_message(input, types, time, MessageType::Bye),
        ACTIVE | INACTIVE => match agent_id(input.0) {
            Some(agent) => {
                Decoded::Event(Event::Activity(Activity::new(agent, kind == ACTIVE, time)))
            }
            None => Decoded::Unreadable,
        },
        _ => Decoded::Unreadable,
    }
}

fn decode_message(
    mut input: Input<'_>,
    types: &DataTypes,
    time: Timestamp,
    message_type: MessageType,
) -> Decoded {
    let Some(parts) = message_parts(&mut input) else { return Decoded::Unreadable };
    let (format, id, data_type, agent) = parts;
    let Some(data_type) = types.get(data_type).cloned() else { return Decoded::UnknownType };
    let payload = Payload::new(format, Bytes::copy_from_slice(input.0));
    let draft = Draft::new(agent, data_type, payload).with_message_type(message_type);
    Decoded::Event(Event::Message(Message::stamp(draft, id, time)))
}

fn message_parts<'a>(input: &mut Input<'a>) -> Option<(Format, MessageId, &'a str, AgentId)> {
    let format = match input.take(1)? {
        [JSON] => Format::Json,
        [MESSAGE_PACK] => Format::MessagePack,
        _ => return None,
    };
    let id = MessageId::from_bytes(input.take(16)?.try_into().ok()?);
    let length = input.take(1)?[0];
    let data_type = std::str::from_utf8(input.take(length.into())?).ok()?;
    let length = u16::from_le_bytes(input.take(2)?.try_into().ok()?);
    let agent = agent_id(input.take(length.into())?)?;
    Some((format, id, data_type, agent))
}

fn agent_id(bytes: &[u8]) -> Option<AgentId> {
    AgentId::new(std::str::from_utf8(bytes).ok()?).ok()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
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
    fn messages_come_back() {
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
    fn changes_come_back() {
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
    fn what_is_not_whole_is_not_read() {
        let mut bytes = Vec::new();
        encode(&Event::Message(message(Format::Json, MessageType::Data)), &mut bytes);
        let payload = 1;
        for end in 0..bytes.len() - payload {
            assert!(matches!(decode(&bytes[..end], &types()), Decoded::Unreadable), "{end}");
        }
        let none = DataTypes::default();
        assert!(matches!(decode(&bytes, &none), Decoded::UnknownType));
    }
}
