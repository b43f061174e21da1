//! The events that a subscription handed out.

use std::collections::BTreeMap;

use poa_core::engine::{Batch, Event, Subscription};
use poa_core::{Activity, BatchLimits, Message};

use super::space::{AGENTS, batches_of, soon};

/// The number of the last message of each agent.
pub(super) const MARK: u64 = 1_000_000;

/// The number of a message.
pub(super) fn number(message: &Message) -> u64 {
    let data: serde_json::Value =
        serde_json::from_slice(message.payload().bytes()).unwrap_or_default();
    data["n"].as_u64().unwrap_or_else(|| panic!("{message:?} was never sent"))
}

/// The next batch.
///
/// # Panics
/// When the subscription has ended, or the batch is not as promised.
pub(super) async fn next(what: &str, from: &dyn Subscription, limits: &BatchLimits) -> Batch {
    let batch = soon(what, from.next_batch(limits)).await;
    let batch = batch.unwrap_or_else(|| panic!("{what}: the subscription has ended"));
    assert!(!batch.is_empty(), "{what}: a batch without events");
    assert!(batch.len() <= limits.size, "{what}: {} events in a batch", batch.len());
    let bytes: usize = batch.iter().map(|(_, event)| event.footprint()).sum();
    let fits = bytes as u64 <= limits.bytes.get() || batch.len() == 1;
    assert!(fits, "{what}: {} events of {bytes} bytes in a batch", batch.len());
    let grow = batch.is_sorted_by(|one, next| one.0 < next.0);
    assert!(grow, "{what}: positions do not grow: {:?}", positions(&batch));
    batch
}

pub(super) fn positions(batch: &Batch) -> Vec<u64> {
    batch.iter().map(|(position, _)| *position).collect()
}

/// The numbers of the messages of a batch.
pub(super) fn numbers(batch: &Batch) -> Vec<u64> {
    let messages = batch.iter().filter_map(|(_, event)| match event {
        Event::Message(message) => Some(number(message)),
        Event::Activity(_) => None,
    });
    messages.collect()
}

/// Everything that was handed out and confirmed.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) messages: Vec<Message>,
    pub(super) changes: Vec<Activity>,
    last: Option<u64>,
}

impl Got {
    /// Reads and confirms until the last message of each agent has arrived.
    pub(super) async fn up_to_marks(what: &str, from: &dyn Subscription) -> Self {
        let (mut got, limits) = (Self::default(), batches_of(7));
        while got.marks() < AGENTS.len() {
            let batch = next(what, from, &limits).await;
            got.add(what, batch);
            from.confirm(&[]);
        }
        got
    }

    pub(super) fn add(&mut self, what: &str, batch: Batch) {
        for (position, event) in batch {
            let grows = self.last.is_none_or(|last| last < position);
            assert!(grows, "{what}: position {position} comes after {:?}", self.last);
            self.last = Some(position);
            match event {
                Event::Message(message) => self.messages.push(message),
                Event::Activity(change) => self.changes.push(change),
            }
        }
    }

    fn marks(&self) -> usize {
        self.messages.iter().filter(|message| number(message) == MARK).count()
    }

    /// The numbers without the marks, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.messages.iter().map(number).filter(|number| *number != MARK).collect()
    }

    /// Panics unless exactly these arrived, each once, those of each agent in ascending order.
    pub(super) fn assert_is(&self, what: &str, sent: impl IntoIterator<Item = u64>) {
        self.assert_ordered(what);
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        let sent: Vec<u64> = sent.into_iter().collect();
        assert_eq!(numbers, sent, "{what}: other messages arrived than expected");
    }

    /// Panics unless the numbers of each agent ascend, the mark last.
    pub(super) fn assert_ordered(&self, what: &str) {
        let mut last = BTreeMap::new();
        for message in &self.messages {
            let number = number(message);
            let before = last.insert(message.agent_id().as_str(), number);
            let ascends = before.is_none_or(|before| before < number);
            assert!(ascends, "{what}: {number} comes after {before:?} of `{}`", message.agent_id());
        }
    }
}
