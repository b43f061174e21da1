//! Records that wait to be published, and the calls that wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};

use bytes::Bytes;
use parking_lot::Mutex;
use poa_core::engine::{Fingerprint, ReceiptError, ReceiptSender};
use poa_core::{Ack, AgentId, DataType, IdempotencyKey, MessageId};

/// A record that waits to be published.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) agent: AgentId,
    pub(crate) content: Content,
    pub(crate) record: Bytes,
}

/// The kind of a record.
#[derive(Debug)]
pub(crate) enum Content {
    Message {
        data_type: DataType,
        key: Option<(IdempotencyKey, Fingerprint)>,
        ack: Ack,
        call: Option<Call>,
    },
    Activity,
}

/// The call that a message belongs to, and its place there.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
}

impl Call {
    /// The message is as safe as promised, or will not be.
    pub(crate) fn settle(&self, outcome: Result<(), ReceiptError>) {
        self.shared.settle(outcome);
    }

    /// The message was accepted before, under this id.
    pub(crate) fn was_accepted_as(&self, id: MessageId) {
        if let Some(own) = self.shared.ids.lock().get_mut(self.index) {
            *own = Some(id);
        }
    }

    /// Whether the caller waits no more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.shared.sender.lock().as_ref().is_none_or(ReceiptSender::is_abandoned)
    }
}

impl Item {
    pub(crate) fn size(&self) -> usize {
        self.record.len() + size_of::<Self>()
    }

    /// Whether it is a publish of its own.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.content, Content::Message { key: Some(_), .. })
    }
}

/// The messages of one call share a receipt: it is settled with the last of them, or with the first that fails.
#[derive(Debug)]
pub(crate) struct Shared {
    left: AtomicUsize,
    ids: Mutex<Vec<Option<MessageId>>>,
    sender: Mutex<Option<ReceiptSender>>,
}

impl Shared {
    /// `left` of the messages with these ids have to be stored or delivered.
    pub(crate) fn new(
        left: usize,
        ids: Vec<Option<MessageId>>,
        sender: ReceiptSender,
    ) -> Arc<Self> {
        let (left, ids) = (AtomicUsize::new(left), Mutex::new(ids));
        Arc::new(Self { left, ids, sender: Mutex::new(Some(sender)) })
    }

    /// One of the messages is as safe as promised, or will not be.
    fn settle(&self, outcome: Result<(), ReceiptError>) {
        let is_last = self.left.fetch_sub(1, AcqRel) == 1;
        if !is_last && outcome.is_ok() {
            return;
        }
        if let Some(sender) = self.sender.lock().take() {
            match outcome {
                Ok(()) => sender.settle_with(std::mem::take(&mut *self.ids.lock())),
                error => sender.settle(error),
            }
        }
    }
}
