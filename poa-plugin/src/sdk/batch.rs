//! Messages as the core knows them, made of what the host lends.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use poa_core::{
    Activity, AgentId, DataType, DataTypes, Draft, Format, Message, MessageId, MessageType,
    Payload, Timestamp,
};

use crate::abi;
use crate::sized;

/// Copies a batch: its messages may be kept for longer than the call.
///
/// # Safety
/// `batch` is lent until this returns.
pub(super) unsafe fn messages(
    batch: *const abi::Batch,
    types: &DataTypes,
) -> Result<Vec<Message>, String> {
    // SAFETY: the caller vouches for it.
    let batch = unsafe { sized::read(batch) }.map_err(|why| format!("no batch: {why:?}"))?;
    // SAFETY: as above.
    let views = || unsafe { sized::items(batch.messages, batch.count, batch.stride) };
    // One allocation for all payloads.
    let mut payloads = BytesMut::with_capacity(views().map(|view| view.payload.len).sum());
    // SAFETY: as above.
    views().for_each(|view| payloads.extend_from_slice(unsafe { view.payload.get() }));
    let payloads = payloads.freeze();
    let mut reader = Reader { payloads, types, agents: HashMap::new(), last_type: None };
    // SAFETY: as above.
    views().map(|view| unsafe { reader.message(&view) }).collect()
}

struct Reader<'t> {
    payloads: Bytes,
    types: &'t DataTypes,
    /// A batch has many messages of few agents.
    agents: HashMap<&'t [u8], AgentId>,
    /// The host has one text for each type, so where it stands tells it.
    last_type: Option<(*const u8, DataType)>,
}

impl<'t> Reader<'t> {
    /// # Safety
    /// What `view` leads to is lent for `'t`.
    unsafe fn message(&mut self, view: &abi::Message) -> Result<Message, String> {
        // SAFETY: the caller vouches for it.
        let (agent, data_type) = unsafe { (view.agent_id.get(), view.data_type.get()) };
        let data_type = self.data_type(data_type)?;
        let format = match view.format {
            abi::POA_JSON => Format::Json,
            abi::POA_MESSAGE_PACK => Format::MessagePack,
            other => return Err(format!("a payload of the unknown format {other}")),
        };
        let kind = match view.message_type {
            abi::POA_BYE => MessageType::Bye,
            _ => MessageType::Data,
        };
        let payload = Payload::new(format, self.payloads.split_to(view.payload.len));
        let draft = Draft::new(self.agent(agent)?, data_type, payload).with_message_type(kind);
        let received_at = Timestamp::from_micros(view.received_at);
        Ok(Message::stamp(draft, MessageId::from_bytes(view.id), received_at))
    }

    fn agent(&mut self, bytes: &'t [u8]) -> Result<AgentId, String> {
        if let Some(known) = self.agents.get(bytes) {
            return Ok(known.clone());
        }
        let id = agent(bytes)?;
        self.agents.insert(bytes, id.clone());
        Ok(id)
    }

    fn data_type(&mut self, name: &[u8]) -> Result<DataType, String> {
        if let Some((_, known)) = self.last_type.as_ref().filter(|(at, _)| *at == name.as_ptr()) {
            return Ok(known.clone());
        }
        let known = std::str::from_utf8(name).ok().and_then(|name| self.types.get(name));
        let known = known.ok_or("a message of an unknown data type")?.clone();
        self.last_type = Some((name.as_ptr(), known.clone()));
        Ok(known)
    }
}

fn agent(bytes: &[u8]) -> Result<AgentId, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    AgentId::new(text).map_err(|error| error.to_string())
}

/// Copies changes.
///
/// # Safety
/// `agents` is lent until this returns.
pub(super) unsafe fn activities(
    agents: *const abi::Activities,
    active: bool,
) -> Result<Vec<Activity>, String> {
    // SAFETY: the caller vouches for it.
    let agents = unsafe { sized::read(agents) }.map_err(|why| format!("no agents: {why:?}"))?;
    // SAFETY: as above.
    let views = unsafe { sized::items(agents.agents, agents.count, agents.stride) };
    let change = |view: abi::Activity| {
        // SAFETY: as above.
        let id = agent(unsafe { view.agent_id.get() })?;
        Ok(Activity::new(id, active, Timestamp::from_micros(view.since)))
    };
    views.map(change).collect()
}
