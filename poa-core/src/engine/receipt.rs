//! What a handler holds until its messages are as safe as `ack` promises.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::Refused;
use crate::MessageId;

/// Tells when messages that were accepted have reached the level that `ack` promises.
///
/// Dropping a receipt does not take the messages back. Cancel safe.
#[derive(Debug)]
#[must_use = "a positive answer to the agent is only true once the receipt is"]
pub struct Receipt {
    ids: MessageIds,
    state: State,
}

#[derive(Debug)]
enum State {
    Ready,
    Waiting { answer: oneshot::Receiver<Answer>, deadline: Option<Deadline> },
}

/// Ids that are known only now, if they are others than were known when the messages were accepted.
type Answer = Result<Option<MessageIds>, ReceiptError>;

/// The ids of the messages of one call, in the order they were sent. A message that was taken before by its idempotency key has the
/// id it was given then; one that no receiver subscribes to has none.
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

/// A timer that is made where it is first waited for: a message may be sent from a thread without a runtime.
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

/// Why an accepted message did not reach the level that `ack` promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The engine could not store the message. It was given to no receiver.
    #[error("the message could not be stored; send it again")]
    NotStored,
    /// A receiver could not deliver the message and set it aside, or skipped it.
    #[error("a receiver could not deliver the message")]
    NotDelivered,
    /// Not every receiver confirmed in time. The message is kept, and will be delivered.
    #[error("the message was not delivered in time; it is kept")]
    TimedOut,
    /// The engine found out only now that it does not take the message. It was given to no receiver.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host stopped before the outcome was known.
    #[error("the host stopped before the message was delivered")]
    Stopped,
}

impl Receipt {
    /// A receipt for messages that are as safe as promised already.
    pub fn ready(ids: impl Into<MessageIds>) -> Self {
        Self { ids: ids.into(), state: State::Ready }
    }

    /// A receipt, and what settles it.
    pub fn pending(ids: impl Into<MessageIds>) -> (Self, ReceiptSender) {
        let (sender, answer) = oneshot::channel();
        let state = State::Waiting { answer, deadline: None };
        (Self { ids: ids.into(), state }, ReceiptSender(sender))
    }

    /// The same receipt, which waits no longer than this.
    pub fn within(mut self, timeout: Duration) -> Self {
        if let State::Waiting { deadline, .. } = &mut self.state {
            *deadline = Some(Deadline { at: Instant::now() + timeout, timer: None });
        }
        self
    }

    /// The ids of the messages, which receivers see as well. An engine that spans machines may know only in the end that a message was
    /// taken before, and which id it was given then: look after awaiting the receipt, by `(&mut receipt).await`.
    #[must_use]
    pub fn ids(&self) -> &MessageIds {
        &self.ids
    }

    /// The id of the only or first message; see [`MessageIds`] for when it has none.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        self.ids.as_slice().first().copied().flatten()
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
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
}

/// Settles a [`Receipt`]. Dropped without an answer, the receipt says [`ReceiptError::Stopped`].
#[derive(Debug)]
pub struct ReceiptSender(oneshot::Sender<Answer>);

impl ReceiptSender {
    /// Settles the receipt. A handler that no longer waits has dropped it, which is fine.
    pub fn settle(self, outcome: Result<(), ReceiptError>) {
        let _ = self.0.send(outcome.map(|()| None));
    }

    /// Settles the receipt well, with ids in place of those it was made with.
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
    async fn a_deadline_is_set_on_a_thread_without_timers() {
        let (receipt, _sender) = Receipt::pending(None);
        let receipt = std::thread::spawn(move || receipt.within(Duration::from_secs(7)));
        assert_eq!(receipt.join().unwrap().await, Err(ReceiptError::TimedOut));
    }

    #[tokio::test]
    async fn ids_may_be_known_in_the_end() {
        let id = MessageId::from_bytes([7; 16]);
        let (mut receipt, sender) = Receipt::pending(None);
        sender.settle_with(Some(id));
        assert_eq!((&mut receipt).await, Ok(()));
        assert_eq!(receipt.id(), Some(id));
    }

    #[tokio::test]
    async fn a_sender_that_is_dropped_says_stopped() {
        let (receipt, sender) = Receipt::pending(None);
        drop(sender);
        assert_eq!(receipt.await, Err(ReceiptError::Stopped));
    }
}
