//! The confirmations that receipts wait for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use poa_core::engine::{MessageIds, Receipt, ReceiptError, ReceiptSender};

/// The settler of a receipt, shared by the readers that have to confirm.
#[derive(Debug)]
pub(crate) struct Waiter {
    missing: AtomicUsize,
    failed: AtomicBool,
    answer: Mutex<Option<ReceiptSender>>,
}

impl Waiter {
    /// A receipt that needs the confirmation of `readers` readers, and their shared part.
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

    /// The receipt fails, whatever else is confirmed: something was not delivered.
    pub(crate) fn lose(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether the receipt was dropped.
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

/// The receipts that one reader still has to confirm, in the order of the queue.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    /// In the order of their ends. A message that was sent again may lie within the range of a batch.
    waiting: VecDeque<(Range<u64>, Arc<Waiter>)>,
    /// The longest range so far.
    longest: u64,
    /// Entries whose receipts were dropped are removed at this number.
    tidy_at: usize,
}

impl Confirmations {
    /// With fewer entries, a search is not worthwhile.
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

    /// The event at this position will not be delivered. Its receipts fail once the rest is confirmed.
    pub(crate) fn lose(&self, position: u64) {
        let at = self.waiting.partition_point(|(range, _)| range.end <= position);
        let far = position.saturating_add(self.longest);
        let near = self.waiting.range(at..).take_while(|(range, _)| range.end <= far);
        for (_, waiter) in near.filter(|(range, _)| range.contains(&position)) {
            waiter.lose();
        }
    }

    /// No event in this part of the log will be delivered.
    pub(crate) fn lose_all(&self, part: &Range<u64>) {
        let at = self.waiting.partition_point(|(range, _)| range.end <= part.start);
        let after = self.waiting.range(at..);
        for (_, waiter) in after.filter(|(range, _)| range.start < part.end) {
            waiter.lose();
        }
    }

    /// Everything before `up_to` is confirmed.
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
    async fn a_message_sent_again_lies_within_its_batch() {
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
    async fn a_lost_part_of_the_log_fails_every_receipt_it_touches() {
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
    fn dropped_receipts_are_removed() {
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
