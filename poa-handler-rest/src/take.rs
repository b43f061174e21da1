//! Performs a decoded call.

use std::net::IpAddr;

use poa_core::auth::Principal;
use poa_core::{
    AgentId, DataType, Draft, HandlerContext, IdempotencyKey, InvalidKey, Receipt, SenderSpan,
};
use poa_http::Received;
use poa_protocol::{Batch, Call, Data, Format, Refusal, host};

use crate::answer::Accepted;

/// A decoded call, with its context.
pub(crate) struct Taking<'r> {
    pub(crate) cx: &'r HandlerContext,
    /// The user; without one, no token is needed.
    pub(crate) caller: Option<&'r Principal>,
    pub(crate) format: Format,
    pub(crate) body: &'r Received,
    /// The address of the client.
    pub(crate) address: IpAddr,
    /// The `Idempotency-Key` header: a call that is sent again with it is accepted once.
    pub(crate) key: Option<&'r str>,
    /// The span in which the client sent the call.
    pub(crate) span: Option<SenderSpan>,
}

/// The accepted calls, and the receipt of their messages.
type Taken = (Accepted, Option<Receipt>);

impl Taking<'_> {
    /// Accepts the whole call or nothing.
    pub(crate) fn take(&self, call: Call<'_>) -> Result<Taken, Refusal> {
        match call {
            Call::Ping(ping) => self.cx.activity().ping(&self.agent(&ping.id)?),
            Call::Bye(bye) => self.cx.publish_inactive(&self.agent(&bye.id)?),
            Call::Data(data) => return self.take_data(&data),
            Call::Batch(batch) => return self.take_batch(batch),
        }
        Ok((Accepted::One, None))
    }

    fn take_data(&self, data: &Data<'_>) -> Result<Taken, Refusal> {
        let data_type = self.data_type(data)?;
        let agent = self.agent(&data.id)?;
        let key = self.key.map(|key| IdempotencyKey::new(&agent, key));
        let draft = self.draft(agent.clone(), data_type, data, key)?;
        let receipt = self.cx.send_to_receivers(draft)?;
        self.cx.activity().data(&agent);
        Ok((Accepted::One, Some(receipt)))
    }

    /// Every item passes one check before any item gets to the next, so that the result does not depend on their order.
    fn take_batch(&self, batch: Batch<'_>) -> Result<Taken, Refusal> {
        let items = &batch.items;
        let types = check_all(items, |item| self.data_type(item))?;
        if let Some(refusal) = batch.refusal {
            return Err(refusal);
        }
        let agents = check_all(items, |item| self.agent(&item.id))?;
        let mut drafts = Vec::with_capacity(items.len());
        for (index, (item, data_type)) in items.iter().zip(types).enumerate() {
            let agent = agents[index].clone();
            let key = self.key.map(|key| IdempotencyKey::in_batch(&agent, key, index));
            drafts.push(self.draft(agent, data_type, item, key)?);
        }
        let receipt = self.cx.send_all_to_receivers(drafts)?;
        agents.iter().for_each(|agent| self.cx.activity().data(agent));
        Ok((Accepted::Batch(items.len()), Some(receipt)))
    }

    fn data_type(&self, data: &Data<'_>) -> Result<DataType, Refusal> {
        host::data_type(self.cx.data_types(), data)
    }

    /// The agent of this id, if the user may send for it.
    fn agent(&self, id: &str) -> Result<AgentId, Refusal> {
        host::agent(self.caller, id)
    }

    fn draft(
        &self,
        agent: AgentId,
        data_type: DataType,
        data: &Data<'_>,
        key: Option<Result<IdempotencyKey, InvalidKey>>,
    ) -> Result<Draft, Refusal> {
        let bytes = self.body.keep(data.range());
        let key = ("Idempotency-Key", key);
        let draft = host::draft(agent, data_type, (self.format, bytes), key, self.caller)?;
        let draft = draft.with_address(self.address);
        Ok(match self.span {
            Some(span) => draft.with_extension(span),
            None => draft,
        })
    }
}

/// The result of a check for every item, or the refusal of the first that fails.
fn check_all<T>(
    items: &[Data<'_>],
    check: impl Fn(&Data<'_>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let numbered = items.iter().enumerate();
    numbered.map(|(index, item)| check(item).map_err(|refusal| refusal.in_batch(index))).collect()
}
