//! What a handler holds until its message is worth what was promised.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// Tells when a message that was accepted has reached the level that `ack` promises.
///
/// Dropping a receipt does not take the message back. Cancel safe.
#[derive(Debug)]
#[must_use = "a positive answer to the agent is only true once the receipt is"]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Ready,
    Waiting { answer: oneshot::Receiver<Result<(), ReceiptError>>, deadline: Option<Deadline> },
}

/// A timer that is made where it is first waited for: who sends may do so on a thread that has none.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The log could not be written. The message was given to nobody.
    #[error("the message could not be stored")]
    NotStored,
    /// A receiver could not deliver the message and set it aside, or skipped it.
    #[error("a receiver could not deliver the message")]
    NotDelivered,
    /// Not every receiver confirmed in time. The message is kept, and will be delivered.
    #[error("the message was not delivered in time; it is kept")]
    TimedOut,
    /// The host stopped before it was known.
    #[error("the host stopped before the message was delivered")]
    Stopped,
}

impl Receipt {
    /// A receipt that is worth what somebody else will say: for a [`Relay`](crate::Relay).
    pub fn promised(answer: oneshot::Receiver<Result<(), ReceiptError>>) -> Self {
        Self(State::Waiting { answer, deadline: None })
    }

    /// A receipt that is good already.
    pub(crate) fn ready() -> Self {
        Self(State::Ready)
    }

    /// The same receipt, which waits no longer than this.
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        if let State::Waiting { deadline, .. } = &mut self.0 {
            *deadline = Some(Deadline { at: Instant::now() + timeout, timer: None });
        }
        self
    }

    /// A receipt for what `readers` readers have to confirm, and their share of it.
    pub(super) fn waiting_for(readers: usize) -> (Self, Arc<Waiter>) {
        let (answer, receiver) = oneshot::channel();
        let waiter = Waiter {
            missing: AtomicUsize::new(readers),
            failed: AtomicBool::new(false),
            answer: Mutex::new(Some(answer)),
        };
        (Self(State::Waiting { answer: receiver, deadline: None }), Arc::new(waiter))
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready => Poll::Ready(Ok(())),
            State::Waiting { answer, deadline } => {
                if let Poll::Ready(said) = Pin::new(answer).poll(cx) {
                    return Poll::Ready(said.unwrap_or(Err(ReceiptError::Stopped)));
                }
                match deadline {
                    Some(deadline) => deadline.poll(cx).map(|()| Err(ReceiptError::TimedOut)),
                    None => Poll::Pending,
                }
            }
        }
    }
}

/// The other end of a receipt, shared by the readers that have to confirm.
#[derive(Debug)]
pub(super) struct Waiter {
    missing: AtomicUsize,
    failed: AtomicBool,
    answer: Mutex<Option<oneshot::Sender<Result<(), ReceiptError>>>>,
}

impl Waiter {
    pub(super) fn confirm(&self, delivered: bool) {
        if !delivered {
            self.lose();
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let failed = self.failed.load(Ordering::Relaxed);
            self.answer(if failed { Err(ReceiptError::NotDelivered) } else { Ok(()) });
        }
    }

    /// Whatever else is confirmed, something was not delivered.
    pub(super) fn lose(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_alone(&self) -> bool {
        self.answer.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    pub(super) fn not_stored(&self) {
        self.answer(Err(ReceiptError::NotStored));
    }

    fn answer(&self, answer: Result<(), ReceiptError>) {
        if let Some(waiting) = self.answer.lock().take() {
            // A handler that no longer waits has dropped its receipt.
            let _ = waiting.send(answer);
        }
    }
}

/// What one reader still has to confirm, in the order of the queue.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    /// In the order of their ends. A message that was sent again may stand within the range of a batch.
    waiting: VecDeque<(Range<u64>, Arc<Waiter>)>,
    /// The longest range there has been.
    longest: u64,
    /// Those whose agents have gone are taken out when there are so many.
    tidy_at: usize,
}

impl Confirmations {
    /// Fewer are not worth looking through.
    const FEW: usize = 1024;

    pub(super) fn push(&mut self, range: Range<u64>, waiter: Arc<Waiter>) {
        self.tidy();
        self.longest = self.longest.max(range.end - range.start);
        let at = match self.waiting.back() {
            Some((last, _)) if last.end > range.end => {
                self.waiting.partition_point(|(other, _)| other.end <= range.end)
            }
            _ => self.waiting.len(),
        };
        self.waiting.insert(at, (range, waiter));
    }

    /// An agent that sends again for as long as a receiver is stuck must not cost memory each time.
    fn tidy(&mut self) {
        if self.waiting.len() >= self.tidy_at.max(Self::FEW) {
            self.waiting.retain(|(_, waiter)| !waiter.is_alone());
            self.tidy_at = 2 * self.waiting.len();
        }
    }

    /// What stands at this position will not be delivered. Says so to whoever waits for it, once the rest is done with.
    pub(super) fn lose(&self, position: u64) {
        let at = self.waiting.partition_point(|(range, _)| range.end <= position);
        let far = position.saturating_add(self.longest);
        let near = self.waiting.range(at..).take_while(|(range, _)| range.end <= far);
        for (_, waiter) in near.filter(|(range, _)| range.contains(&position)) {
            waiter.lose();
        }
    }

    /// Nothing that stands in this part of the log will be delivered.
    pub(super) fn lose_all(&self, part: &Range<u64>) {
        let at = self.waiting.partition_point(|(range, _)| range.end <= part.start);
        let after = self.waiting.range(at..);
        for (_, waiter) in after.filter(|(range, _)| range.start < part.end) {
            waiter.lose();
        }
    }

    /// Everything before `up_to` is done with.
    pub(super) fn settle(&mut self, up_to: u64) {
        while self.waiting.front().is_some_and(|(range, _)| range.end <= up_to) {
            if let Some((_, waiter)) = self.waiting.pop_front() {
                waiter.confirm(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_set_on_a_thread_without_timers() {
        let (receipt, _waiter) = Receipt::waiting_for(1);
        let receipt = std::thread::spawn(move || receipt.within(Duration::from_secs(7)));
        assert_eq!(receipt.join().unwrap().await, Err(ReceiptError::TimedOut));
    }

    fn waiter(confirmations: &mut Confirmations, range: Range<u64>) -> Receipt {
        let (receipt, waiter) = Receipt::waiting_for(1);
        confirmations.push(range, waiter);
        receipt
    }

    #[tokio::test]
    async fn a_message_sent_again_stands_within_its_batch() {
        let mut confirmations = Confirmations::default();
        let batch = waiter(&mut confirmations, 10..20);
        let later = waiter(&mut confirmations, 20..21);
        let again = [12, 15].map(|at| waiter(&mut confirmations, at..at + 1));
        confirmations.lose(15);
        confirmations.settle(13);
        let [fine, lost] = again;
        assert_eq!(fine.await, Ok(()));
        confirmations.settle(21);
        assert_eq!(lost.await, Err(ReceiptError::NotDelivered));
        assert_eq!(batch.await, Err(ReceiptError::NotDelivered));
        assert_eq!(later.await, Ok(()));
    }

    #[tokio::test]
    async fn a_part_of_the_log_is_lost_to_all_that_it_touches() {
        let mut confirmations = Confirmations::default();
        let waiting = [0..3, 3..6, 6..7, 7..9].map(|range| waiter(&mut confirmations, range));
        confirmations.lose_all(&(5..7));
        confirmations.settle(9);
        let mut lost = Vec::new();
        for receipt in waiting {
            lost.push(receipt.await.is_err());
        }
        assert_eq!(lost, [false, true, true, false]);
    }

    #[test]
    fn those_who_have_gone_are_forgotten() {
        let mut confirmations = Confirmations::default();
        let kept: Vec<_> = (0..10).map(|n| waiter(&mut confirmations, n..n + 1)).collect();
        for n in 0..100_000 {
            drop(waiter(&mut confirmations, n..n + 1));
        }
        assert!(confirmations.waiting.len() <= 2 * Confirmations::FEW);
        confirmations.settle(u64::MAX);
        assert!(
            kept.into_iter()
                .all(|receipt| { futures_util::FutureExt::now_or_never(receipt) == Some(Ok(())) })
        );
    }
}
