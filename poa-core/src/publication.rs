//! Follows messages from the call of a handler to their acknowledgement, for observers.

use crate::engine::MessageIds;
use crate::observer::{Acknowledgement, Observers, SenderSpan};
use crate::{AgentId, DataType, Draft, MessageId, ReceiptError, Timestamp};

/// The messages of one call of a handler, until its receipt resolves.
#[derive(Debug)]
pub(crate) struct Publication {
    observers: Observers,
    received_at: Timestamp,
    messages: Vec<Facts>,
}

/// The facts about a message that outlive its draft. The payload is not one of them: it may be large.
#[derive(Debug)]
struct Facts {
    agent_id: AgentId,
    data_type: DataType,
    bytes: usize,
    sender_span: Option<SenderSpan>,
}

impl Publication {
    /// Follows these messages, which are about to be published; `None` if no observer wants to know.
    pub(crate) fn of(observers: &Observers, drafts: &[Draft]) -> Option<Self> {
        let received_at = observers.now()?;
        let facts = |draft: &Draft| Facts {
            agent_id: draft.agent_id().clone(),
            data_type: draft.data_type().clone(),
            bytes: draft.payload().bytes().len(),
            sender_span: draft.extension().copied(),
        };
        let messages = drafts.iter().map(facts).collect();
        Some(Self { observers: observers.clone(), received_at, messages })
    }

    /// Tells the observers what became of the messages. `outcome` is the result of the receipt, unless it was dropped.
    pub(crate) fn end(self, ids: &MessageIds, outcome: Option<Result<(), &ReceiptError>>) {
        let ended_at = Timestamp::now().max(self.received_at);
        let mut previous = None;
        for (id, facts) in ids.as_slice().iter().zip(&self.messages) {
            let Some(id) = id.filter(|id| self.is_new(*id, previous)) else { continue };
            previous = Some(id);
            let acknowledgement = Acknowledgement {
                id,
                agent_id: &facts.agent_id,
                data_type: &facts.data_type,
                bytes: facts.bytes,
                sender_span: facts.sender_span,
                received_at: self.received_at,
                ended_at,
                outcome,
            };
            self.observers.each(|observer| observer.acknowledged(&acknowledgement));
        }
    }

    /// Whether the message of this id is not a duplicate: those have the id of a message that was accepted before. New ids of one call
    /// grow.
    fn is_new(&self, id: MessageId, previous: Option<MessageId>) -> bool {
        id.time() >= self.received_at && previous.is_none_or(|previous| id > previous)
    }
}
