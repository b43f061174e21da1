//! Performs a call.

use std::net::IpAddr;

use bytes::Bytes;
use poa_core::activity::Link;
use poa_core::auth::Principal;
use poa_core::{AgentId, HandlerContext, IdempotencyKey, Receipt};
use poa_http::websocket::keep;
use poa_protocol::{Call, Data, Format, Refusal, host};

/// A message with a call, and its context.
pub(crate) struct Taking<'m> {
    pub(crate) cx: &'m HandlerContext,
    /// The user; without one, no token is needed.
    pub(crate) caller: Option<&'m Principal>,
    pub(crate) link: &'m mut Link,
    pub(crate) format: Format,
    pub(crate) message: &'m Bytes,
    /// The address of the client.
    pub(crate) address: Option<IpAddr>,
    /// The idempotency key: a call that is sent again with it is accepted once.
    pub(crate) key: Option<&'m str>,
}

impl Taking<'_> {
    /// Accepts the call; a receipt resolves when its message has reached its level.
    pub(crate) fn take(mut self, call: &Call<'_>) -> Result<Option<Receipt>, Refusal> {
        match call {
            Call::Ping(ping) => self.link.ping(&self.agent(&ping.id)?),
            Call::Bye(bye) => self.link.bye(&self.agent(&bye.id)?),
            Call::Data(data) => return self.take_data(data).map(Some),
            // The decoder of this protocol creates none.
            Call::Batch(_) => return Err(Refusal::Internal),
        }
        Ok(None)
    }

    fn take_data(&mut self, data: &Data<'_>) -> Result<Receipt, Refusal> {
        let data_type = host::data_type(self.cx.data_types(), data)?;
        let agent = self.agent(&data.id)?;
        let key = self.key.map(|key| IdempotencyKey::new(&agent, key));
        let bytes = keep(self.message, data.range());
        let key = ("idempotency_key", key);
        let draft = host::draft(agent.clone(), data_type, (self.format, bytes), key, self.caller)?;
        let draft = match self.address {
            Some(address) => draft.with_address(address),
            None => draft,
        };
        let receipt = self.cx.send_to_receivers(draft)?;
        self.link.data(&agent);
        Ok(receipt)
    }

    /// The agent of this id, if the user may send for it.
    fn agent(&self, id: &str) -> Result<AgentId, Refusal> {
        host::may_speak(self.caller, id)?;
        match self.link.agent(id) {
            Some(agent) => Ok(agent.clone()),
            None => host::agent(None, id),
        }
    }
}
