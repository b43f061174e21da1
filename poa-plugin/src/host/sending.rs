//! Messages from plugins, and what became of them, in C types.

use poa_core::{
    AgentId, Assigns, DataTypes, Draft, Format, IdempotencyKey, MessageType, Payload, ReceiptError,
    Refused,
};

use crate::abi::{self, Drafts};
use crate::sized;

/// Copies the messages of a plugin; an error is the reason why one is not valid.
///
/// # Safety
/// `messages` is null or valid until this returns.
pub(crate) unsafe fn drafts(
    known: &DataTypes,
    messages: *const Drafts,
) -> Result<Vec<Draft>, String> {
    // SAFETY: the caller guarantees it, also for the data it leads to.
    unsafe {
        let messages = sized::read(messages).map_err(|_| "there are no messages".to_owned())?;
        let all = sized::items(messages.messages, messages.count, messages.stride);
        if all.len() != messages.count {
            return Err("`stride` is not `sizeof(poa_draft)`".to_owned());
        }
        all.map(|message| draft(known, &message)).collect()
    }
}

/// # Safety
/// The data of the message is valid until this returns.
unsafe fn draft(known: &DataTypes, message: &abi::Draft) -> Result<Draft, String> {
    // SAFETY: the caller guarantees it.
    let (agent, data_type, key, payload) = unsafe {
        let key = message.key.text();
        (message.agent_id.text(), message.data_type.text(), key, message.payload.get())
    };
    let agent = AgentId::new(agent).map_err(|error| error.to_string())?;
    let known = known.get(&data_type);
    let known = known.ok_or_else(|| format!("`{data_type}` is not among the host's data types"))?;
    let format = match message.format {
        abi::POA_JSON => Format::Json,
        abi::POA_MESSAGE_PACK => Format::MessagePack,
        other => return Err(format!("{other} is not a valid format")),
    };
    let message_type = match message.message_type {
        abi::POA_DATA => MessageType::Data,
        abi::POA_BYE => MessageType::Bye,
        other => return Err(format!("{other} is not a valid type of message")),
    };
    let payload = Payload::new(format, bytes::Bytes::copy_from_slice(payload));
    let key = match &*key {
        "" => None,
        key => Some(IdempotencyKey::new(&agent, key).map_err(|error| error.to_string())?),
    };
    // SAFETY: the caller guarantees it.
    let assigns = Assigns::from_json(unsafe { message.assigns.get() });
    let draft = Draft::new(agent, known.clone(), payload)
        .with_message_type(message_type)
        .with_assigns(assigns.map_err(|error| error.to_string())?);
    Ok(match key {
        Some(key) => draft.with_idempotency_key(key),
        None => draft,
    })
}

/// The code and the text of a refusal.
pub(crate) fn refusal(refused: &Refused) -> (u32, String) {
    match refused {
        Refused::BacklogFull { receiver } => (abi::POA_REFUSED_BACKLOG, receiver.to_string()),
        Refused::LogBusy
        | Refused::Unavailable(_)
        | Refused::OverShare { .. }
        | Refused::OverRate { .. }
        | Refused::NobodySubscribed(_) => (abi::POA_REFUSED_BUSY, String::new()),
        Refused::Stopping => (abi::POA_REFUSED_STOPPING, String::new()),
        Refused::KeyReused => (abi::POA_REFUSED_KEY, String::new()),
        other => (abi::POA_REFUSED_INVALID, other.to_string()),
    }
}

/// The code of a message that was accepted, and then not delivered.
pub(crate) fn shortfall(error: ReceiptError) -> u32 {
    match error {
        ReceiptError::NotStored => abi::POA_NOT_STORED,
        ReceiptError::TimedOut => abi::POA_TIMED_OUT,
        ReceiptError::Stopped => abi::POA_STOPPED,
        _ => abi::POA_NOT_DELIVERED,
    }
}
