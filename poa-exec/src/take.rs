//! Messages from a handler, on their way to the receivers.

use poa_core::{
    AgentId, Assigns, BoxError, Draft, Format, HandlerContext, IdempotencyKey, Payload, Receipt,
    ReceiptError,
};

use poa_protocol::{Limits, decode_fields};

use crate::frame::{Outcome, Sent};

/// The delay in seconds that a child is asked for: short for a backlog, long for a burst.
const RETRY_AFTER: u32 = 5;

impl Outcome {
    /// The outcome of a receipt.
    pub(crate) fn of(told: Result<(), ReceiptError>) -> Self {
        match told {
            Ok(()) => Self { ok: true, reason: None, retry_after: None },
            Err(error) => Self::not_now(error),
        }
    }

    fn not_now(reason: impl ToString) -> Self {
        Self { ok: false, reason: Some(reason.to_string()), retry_after: Some(RETRY_AFTER) }
    }

    /// A repetition cannot succeed.
    pub(crate) fn never(reason: impl ToString) -> Self {
        Self { ok: false, reason: Some(reason.to_string()), retry_after: None }
    }
}

/// Sends all of the messages to the receivers, or none.
pub(crate) fn take(cx: &HandlerContext, messages: &[Sent<'_>]) -> Result<Receipt, Outcome> {
    let mut drafts = Vec::with_capacity(messages.len());
    let mut agents = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let agent = AgentId::new(&*message.agent_id);
        let agent = agent.map_err(|error| at(index, format_args!("agent_id {error}")))?;
        drafts.push(draft(cx, agent.clone(), message).map_err(|error| at(index, error))?);
        agents.push(agent);
    }
    if drafts.is_empty() {
        return Err(Outcome::never("`messages` is empty"));
    }
    let receipt =
        cx.send_all_to_receivers(drafts).map_err(|refused| match refused.is_transient() {
            true => Outcome::not_now(refused),
            false => Outcome::never(refused),
        })?;
    agents.iter().for_each(|agent| cx.activity().data(agent));
    Ok(receipt)
}

fn at(index: usize, problem: impl std::fmt::Display) -> Outcome {
    Outcome::never(format_args!("messages[{index}]: {problem}"))
}

fn draft(cx: &HandlerContext, agent: AgentId, message: &Sent<'_>) -> Result<Draft, BoxError> {
    let data_type = cx.data_types().get(&message.data_type);
    let data_type =
        data_type.ok_or_else(|| format!("unknown data_type `{}`", message.data_type))?;
    let data = message.data.get();
    // The data is checked as in every handler: depth, surrogates, numbers.
    decode_fields(poa_protocol::Format::Json, data.as_bytes(), &Limits::default(), [])?;
    let payload = Payload::new(Format::Json, data.to_owned().into());
    let key = message.key.as_ref().map(|key| IdempotencyKey::new(&agent, key)).transpose()?;
    let assigns = message.assigns.map_or("", serde_json::value::RawValue::get);
    let draft = Draft::new(agent, data_type.clone(), payload)
        .with_assigns(Assigns::from_json(assigns.as_bytes())?);
    Ok(match key {
        Some(key) => draft.with_idempotency_key(key),
        None => draft,
    })
}
