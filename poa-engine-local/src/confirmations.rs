//! What receipts wait for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use poa_core::engine::{MessageIds, Receipt, ReceiptError, ReceiptSender};

/// The other end of a receipt, shared by the readers that have to confirm.
#[derive(Debug)]
pub(crate) struct Waiter {
    missing: AtomicUsize,
    failed: AtomicBool,
    answer: Mutex<Option<ReceiptSender>>,
}

impl Waiter {
    /// A receipt for what `readers` readers have to confirm, and their share of it.
    pub(crate) fn new(ids: MessageIds, readers: usize) -> (Receipt, Arc<Self>) {
        let (receipt, answer) = Receipt::pending(ids);
        let waiter = Self {
            missing: AtomicUsize::new(readers),
            failed: AtomicBool::new(false),
            answer: Mutex::new(Some(answer)),
        };
        (receipt, Arc::new(waiter))
    }

    pub(crate) fn confirm(&self, delivered: bool) {
        if !delivered {
            self.lose();
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let failed = self.failed.load(Ordering::Relaxed);
            self.answer(if failed { Err(ReceiptError::NotDelivered) } else { Ok(()) });
        }
    }

    /// Whatever else is confirmed, something was not delivered.
    pub(crate) fn lose(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_alone(&self) -> bool {
        self.answer.lock().as_ref().is_none_or(ReceiptSender::is_abandoned)
    }

    pub(crate) fn not_stored(&self) {
        self.answer(Err(ReceiptError::NotStored));
    }

    fn answer(&self, answer: Result<(), ReceiptError>) {
        if let Some(waiting) = self.answer.lock().take() {
            waiting.settle(answer);
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

    pub(crate) fn push(&mut self, range: Range<u64>, waiter: Arc<Waiter>) {
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
    pub(crate) fn lose(&self, position: u64) {
        let at = self.waiting.partition_point(|(range, _)| range.end <= position);
        let far = position.saturating_add(self.longest);
        let near = self.waiting.range(at..).take_while(|(range, _)| range.end <= far);
        for (_, waiter) in near.filter(|(range, _)| range.contains(&position)) {
            waiter.lose();
        }
    }

    /// Nothing that stands in this part of the log will be delivered.
    pub(crate) fn lose_all(&self, part: &Range<u64>) {
        let at = self.waiting.partition_point(|(range, _)| range.end <= part.start);
        let after = self.waiting.range(at..);
        for (_, waiter) in after.filter(|(range, _)| range.start < part.end) {
            waiter.lose();
        }
    }

    /// Everything before `up_to` is done with.
    pub(crate) fn settle(&mut self, up_to: u64) {
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

    fn waiter(confirmations: &mut Confirmations, range: Range<u64>) -> Receipt {
        let (receipt, waiter) = Waiter::new(MessageIds::default(), 1);
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
