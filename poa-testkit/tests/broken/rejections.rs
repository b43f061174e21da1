//! Receivers that reject unreadable messages. A rejection says that the other messages of the batch are stored.

use std::sync::{Arc, Mutex};

use poa_core::{DeliveryError, Message, Receiver, ReceiverFactory, Rejected, async_trait};
use poa_testkit::receiver_contract;
use serde_json::value::RawValue;

use crate::verdict;

/// The messages that a batch with an unreadable one leaves in the store, and the index that is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejects {
    /// All others are stored.
    Truthfully,
    /// None is stored.
    WithoutStoring,
    /// All others are stored, and the first is rejected.
    AnotherOne,
}

struct Shelf {
    rejects: Rejects,
    ids: Arc<Mutex<Vec<String>>>,
}

impl Shelf {
    fn store(&self, messages: &[&Message]) {
        let mut ids = self.ids.lock().unwrap();
        for id in messages.iter().map(|message| message.id().to_string()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
}

#[async_trait]
impl Receiver for Shelf {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let unreadable = |message: &Message| message.payload().read::<Box<RawValue>>().is_err();
        let Some(bad) = batch.iter().position(unreadable) else {
            self.store(&batch.iter().collect::<Vec<_>>());
            return Ok(());
        };
        if self.rejects != Rejects::WithoutStoring {
            self.store(&batch.iter().filter(|message| !unreadable(message)).collect::<Vec<_>>());
        }
        let item = if self.rejects == Rejects::AnotherOne { 0 } else { bad };
        Err(DeliveryError::rejected(vec![Rejected::new(item, "unreadable")]))
    }
}

fn verdict_on(rejects: Rejects) -> Option<String> {
    let ids = Arc::<Mutex<Vec<String>>>::default();
    let held = ids.clone();
    let factory: ReceiverFactory = Arc::new(move |_| {
        let receiver = Box::new(Shelf { rejects, ids: held.clone() }) as Box<dyn Receiver>;
        Box::pin(async { Ok(receiver) })
    });
    verdict(receiver_contract(factory, async || ids.lock().unwrap().clone()))
}

#[test]
fn a_rejection_of_the_unreadable_honours_the_contract() {
    assert_eq!(verdict_on(Rejects::Truthfully), None);
}

#[test]
fn a_rejection_that_is_not_true_is_found() {
    let found = verdict_on(Rejects::WithoutStoring).expect("the others are lost");
    assert!(found.contains("is stored 0 times"), "{found}");
    let found = verdict_on(Rejects::AnotherOne).expect("another message is rejected");
    assert!(found.contains("rejected are the items [0], not 1"), "{found}");
}
