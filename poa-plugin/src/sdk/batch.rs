//! Converts the host's messages to messages of the core.

use bytes::{Bytes, BytesMut};
use poa_core::{
    Activity, AgentId, Assigns, DataType, DataTypes, Draft, Format, IdempotencyKey, Message,
    MessageId, MessageType, Payload, Timestamp,
};

use crate::abi;
use crate::sized;

/// Copies a batch, because its messages can be kept for longer than the call.
///
/// # Safety
/// `batch` is lent until this returns.
pub(super) unsafe fn messages(
    batch: *const abi::Batch,
    types: &DataTypes,
    agents: &mut Agents,
) -> Result<Vec<Message>, String> {
    // SAFETY: the caller guarantees it.
    let batch =
        unsafe { sized::read(batch) }.map_err(|why| format!("not a valid batch: {why:?}"))?;
    // SAFETY: as above.
    let views = || unsafe { sized::items(batch.messages, batch.count, batch.stride) };
    // One allocation for all payloads.
    let mut payloads = BytesMut::with_capacity(views().map(|view| view.payload.len).sum());
    // SAFETY: as above.
    views().for_each(|view| payloads.extend_from_slice(unsafe { view.payload.get() }));
    let payloads = payloads.freeze();
    let mut reader = Reader { payloads, types, agents, last_type: None };
    // SAFETY: as above.
    views().map(|view| unsafe { reader.message(&view) }).collect()
}

/// Recently seen agents, so that most messages need no new id.
#[derive(Debug, Default)]
pub(super) struct Agents(Vec<Option<AgentId>>);

impl Agents {
    const PLACES: usize = 1024;

    fn get(&mut self, bytes: &[u8]) -> Result<AgentId, String> {
        self.0.resize(Self::PLACES, None);
        let place = &mut self.0[Self::place(bytes)];
        if let Some(known) = place.as_ref().filter(|known| known.as_str().as_bytes() == bytes) {
            return Ok(known.clone());
        }
        let id = agent(bytes)?;
        *place = Some(id.clone());
        Ok(id)
    }

    /// FNV-1a. A client that makes ids collide only causes each of them to be created again.
    fn place(bytes: &[u8]) -> usize {
        let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let hash = bytes.iter().fold(0x811c_9dc5, step);
        (hash ^ hash >> 16) as usize % Self::PLACES
    }
}

struct Reader<'t> {
    payloads: Bytes,
    types: &'t DataTypes,
    agents: &'t mut Agents,
    last_type: Option<DataType>,
}

impl Reader<'_> {
    /// # Safety
    /// The data of `view` is lent until this returns.
    unsafe fn message(&mut self, view: &abi::Message) -> Result<Message, String> {
        // SAFETY: the caller guarantees it.
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
        // SAFETY: as above.
        let (key, assigns) = unsafe { (view.key.get(), view.assigns.get()) };
        let assigns = Assigns::from_json(assigns).map_err(|error| error.to_string())?;
        let mut draft = Draft::new(self.agents.get(agent)?, data_type, payload)
            .with_message_type(kind)
            .with_assigns(assigns);
        if let Ok(key) = key.try_into() {
            draft = draft.with_idempotency_key(IdempotencyKey::from_bytes(key));
        }
        let received_at = Timestamp::from_micros(view.received_at);
        Ok(Message::stamp(draft, MessageId::from_bytes(view.id), received_at))
    }

    fn data_type(&mut self, name: &[u8]) -> Result<DataType, String> {
        let last = self.last_type.as_ref();
        if let Some(known) = last.filter(|known| known.name().as_bytes() == name) {
            return Ok(known.clone());
        }
        let name = std::str::from_utf8(name).map_err(|error| error.to_string())?;
        let known = match self.types.get(name) {
            Some(known) => known.clone(),
            // A host lists all of its data types; tests may send messages of others.
            None => {
                let alone = DataTypes::new([name]).map_err(|error| error.to_string())?;
                alone.iter().next().ok_or("no data type")?.clone()
            }
        };
        self.last_type = Some(known.clone());
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
    // SAFETY: the caller guarantees it.
    let agents =
        unsafe { sized::read(agents) }.map_err(|why| format!("not valid agents: {why:?}"))?;
    // SAFETY: as above.
    let views = unsafe { sized::items(agents.agents, agents.count, agents.stride) };
    let change = |view: abi::Activity| {
        // SAFETY: as above.
        let id = agent(unsafe { view.agent_id.get() })?;
        Ok(Activity::new(id, active, Timestamp::from_micros(view.since)))
    };
    views.map(change).collect()
}
