//! Receipts, which resolve when messages have reached the level that `ack` sets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Refused;
use crate::MessageId;
use crate::publication::Publication;

/// Resolves when the accepted messages have reached the level that `ack` sets.
///
/// Dropping a receipt does not withdraw the messages. Cancel safe.
///
/// ```
/// use std::time::Duration;
/// use poa_core::{Receipt, ReceiptError};
///
/// /// The answer of a handler to its client, once the outcome is known.
/// async fn answer(receipt: Receipt) -> &'static str {
///     match receipt.within(Duration::from_secs(30)).await {
///         Ok(()) => "ok",
///         Err(ReceiptError::TimedOut) => "accepted, not yet delivered",
///         Err(_) => "not stored; send it again",
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // In a host the engine settles it.
/// let (receipt, sender) = Receipt::pending(None);
/// sender.settle(Ok(()));
/// assert_eq!(answer(receipt).await, "ok");
/// # }
/// ```
#[derive(Debug)]
#[must_use = "acknowledge the messages only after the receipt resolves"]
pub struct Receipt {
    ids: MessageIds,
    state: State,
    /// The messages, for observers that are told when the receipt resolves or is dropped.
    publication: Option<Box<Publication>>,
}

#[derive(Debug)]
enum State {
    Ready,
    Waiting { answer: oneshot::Receiver<Answer>, deadline: Option<Deadline> },
}

/// Ids that became known only on completion, if they differ from those known when the messages were accepted.
type Answer = Result<Option<MessageIds>, ReceiptError>;

/// The ids of the messages of one call, in the order in which they were sent. A duplicate, recognised by its idempotency key, has the
/// id of the message accepted first; a message that no receiver subscribes to has none.
///
/// ```
/// use poa_core::Receipt;
/// use poa_core::engine::IdGenerator;
/// # use poa_core::Timestamp;
///
/// let first = IdGenerator::new().next(Timestamp::now());
/// // Three messages of one call: accepted, a duplicate of the first, and one that no receiver wants.
/// let receipt = Receipt::ready(vec![Some(first), Some(first), None]);
/// assert_eq!(receipt.ids().as_slice(), [Some(first), Some(first), None]);
/// assert_eq!(receipt.id(), Some(first));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MessageIds(Ids);

#[derive(Clone, Debug, Default)]
enum Ids {
    #[default]
    None,
    One([Option<MessageId>; 1]),
    Many(Arc<[Option<MessageId>]>),
}

impl MessageIds {
    /// The ids, one for each message.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[Option<MessageId>] {
        match &self.0 {
            Ids::None => &[],
            Ids::One(one) => one,
            Ids::Many(many) => many,
        }
    }
}

impl From<Option<MessageId>> for MessageIds {
    fn from(id: Option<MessageId>) -> Self {
        Self(Ids::One([id]))
    }
}

impl From<Vec<Option<MessageId>>> for MessageIds {
    fn from(ids: Vec<Option<MessageId>>) -> Self {
        Self(Ids::Many(ids.into()))
    }
}

/// A timer that is created when it is first polled: a message may be sent from a thread without a runtime.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        timer.as_mut().poll(cx)
    }
}

/// The reason why an accepted message did not reach the level that `ack` sets.
///
/// See [`Receipt`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The engine could not store the message. It was delivered to no receiver.
    #[error("the message could not be stored; send it again")]
    NotStored,
    /// A receiver could not deliver the message and dead-lettered or skipped it.
    #[error("a receiver could not deliver the message")]
    NotDelivered,
    /// Not every receiver confirmed in time. The message is kept and will be delivered.
    #[error("the message was not delivered in time; it is kept")]
    TimedOut,
    /// The engine learned only after accepting that the message is refused. It was delivered to no receiver.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host stopped before the outcome was known.
    #[error("the host stopped before the message was delivered")]
    Stopped,
}

impl Receipt {
    /// A receipt for messages that have already reached their level.
    #[inline]
    pub fn ready(ids: impl Into<MessageIds>) -> Self {
        Self { ids: ids.into(), state: State::Ready, publication: None }
    }

    /// A receipt, and its settler.
    pub fn pending(ids: impl Into<MessageIds>) -> (Self, ReceiptSender) {
        let (sender, answer) = oneshot::channel();
        let state = State::Waiting { answer, deadline: None };
        (Self { ids: ids.into(), state, publication: None }, ReceiptSender(sender))
    }

    /// The same receipt with this time limit.
    pub fn within(mut self, timeout: Duration) -> Self {
        if let State::Waiting { deadline, .. } = &mut self.state {
            *deadline = Some(Deadline { at: Instant::now() + timeout, timer: None });
        }
        self
    }

    /// The same receipt, and the observers of the publication are told how it ends.
    pub(crate) fn observed(mut self, publication: Publication) -> Self {
        self.publication = Some(Box::new(publication));
        if matches!(self.state, State::Ready) {
            self.end_publication(Some(Ok(())));
        }
        self
    }

    #[inline]
    fn end_publication(&mut self, outcome: Option<Result<(), &ReceiptError>>) {
        if self.publication.is_some() {
            self.tell_observers(outcome);
        }
    }

    #[cold]
    fn tell_observers(&mut self, outcome: Option<Result<(), &ReceiptError>>) {
        if let Some(publication) = self.publication.take() {
            publication.end(&self.ids, outcome);
        }
    }

    fn poll_level(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReceiptError>> {
        match &mut self.state {
            State::Ready => Poll::Ready(Ok(())),
            State::Waiting { answer, deadline } => {
                let Poll::Ready(said) = Pin::new(answer).poll(cx) else {
                    return match deadline {
                        Some(deadline) => deadline.poll(cx).map(|()| Err(ReceiptError::TimedOut)),
                        None => Poll::Pending,
                    };
                };
                let ids = said.unwrap_or(Err(ReceiptError::Stopped));
                self.state = State::Ready;
                Poll::Ready(ids.map(|ids| self.ids = ids.unwrap_or(std::mem::take(&mut self.ids))))
            }
        }
    }

    /// The ids of the messages; receivers see the same ones. An engine that spans machines may learn only on completion that a message
    /// is a duplicate, and of which message: read the ids after awaiting the receipt with `(&mut receipt).await`.
    #[must_use]
    pub fn ids(&self) -> &MessageIds {
        &self.ids
    }

    /// The id of the only or first message; see [`MessageIds`] for messages without an id.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        self.ids.as_slice().first().copied().flatten()
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.publication.is_none() && matches!(self.state, State::Ready) {
            return Poll::Ready(Ok(()));
        }
        let outcome = ready!(self.poll_level(cx));
        self.end_publication(Some(outcome.as_ref().copied()));
        Poll::Ready(outcome)
    }
}

impl Drop for Receipt {
    #[inline]
    fn drop(&mut self) {
        self.end_publication(None);
    }
}

/// Settles a [`Receipt`]. Dropped without a result, it fails the receipt with [`ReceiptError::Stopped`].
///
/// See [`Receipt`] for an example.
#[derive(Debug)]
pub struct ReceiptSender(oneshot::Sender<Answer>);

impl ReceiptSender {
    /// Settles the receipt. A handler that no longer waits has dropped it; that is not an error.
    pub fn settle(self, outcome: Result<(), ReceiptError>) {
        let _ = self.0.send(outcome.map(|()| None));
    }

    /// Settles the receipt with success, and with ids that replace those it was created with.
    pub fn settle_with(self, ids: impl Into<MessageIds>) {
        let _ = self.0.send(Ok(Some(ids.into())));
    }

    /// Whether the receipt was dropped.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_can_be_set_on_a_thread_without_a_runtime() {
        let (receipt, _sender) = Receipt::pending(None);
        let receipt = std::thread::spawn(move || receipt.within(Duration::from_secs(7)));
        assert_eq!(receipt.join().unwrap().await, Err(ReceiptError::TimedOut));
    }

    #[tokio::test]
    async fn ids_may_be_replaced_on_completion() {
        let id = MessageId::from_bytes([7; 16]);
        let (mut receipt, sender) = Receipt::pending(None);
        sender.settle_with(Some(id));
        assert_eq!((&mut receipt).await, Ok(()));
        assert_eq!(receipt.id(), Some(id));
    }

    #[tokio::test]
    async fn a_dropped_settler_fails_with_stopped() {
        let (receipt, sender) = Receipt::pending(None);
        drop(sender);
        assert_eq!(receipt.await, Err(ReceiptError::Stopped));
    }
}
