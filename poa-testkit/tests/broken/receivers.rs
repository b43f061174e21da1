//! Receivers that keep messages in memory, and violate one rule.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use poa_core::{
    Activity, ControlMessage, DeliveryError, Message, Receiver, ReceiverContext, ReceiverFactory,
    async_trait,
};
use poa_testkit::receiver_contract;
use serde_json::value::RawValue;

use crate::verdict;

/// The violated rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// None.
    None,
    /// Some messages are confirmed and never stored.
    Loses,
    /// Messages that are delivered again are stored again.
    Doubles,
    /// Of messages received in the same microsecond, one is stored.
    StoresByTime,
    /// A batch is confirmed now, and stored with the next one.
    StoresLater,
    /// A new instance does not know what those before it stored.
    ForgetsWhenBuilt,
    /// A new instance starts with an empty store.
    EmptiesWhenBuilt,
    /// The newest of a batch are stored first.
    TurnsAround,
    /// It records a message as known before storing it.
    LosesWhenCutOff,
    /// It stores a message before recording it as known.
    DoublesWhenCutOff,
    /// A message with a zero in a text is a permanent error.
    RefusesTheUnusual,
    /// An unreadable message is a transient error.
    WaitsForTheUnreadable,
    /// An unreadable message is blamed on another one.
    BlamesAnother,
    /// An unreadable message fails the whole batch.
    BlamesAll,
    /// Storing always fails with a transient error.
    AlwaysFails,
    /// It fails on changes of activity.
    FailsOnActivity,
    /// It fails on control messages.
    FailsOnControl,
    /// Every message stays in memory.
    KeepsAll,
    /// A task is spawned when it is built, and never ends.
    SpawnsWhenBuilt,
    /// Its `start` is never called, as behind a border that does not pass it on.
    NeverStarted,
    /// `start` fails.
    FailsToStart,
    /// A task is spawned when it starts, and outlives the receiver.
    SpawnsForGood,
    /// A task is spawned for a batch, and outlives the receiver.
    LeavesATask,
    /// A batch never ends.
    Hangs,
    /// `terminate` never returns.
    HangsInTheEnd,
    /// After the notification that the host is stopping, nothing is stored.
    StopsTooEarly,
    /// An instance that is dropped before its batch is confirmed loses what was known of that batch.
    DoublesWhatComesAgain,
}

/// The state that survives an instance.
#[derive(Debug, Default)]
struct Store {
    ids: Vec<String>,
    known: HashSet<String>,
}

type Shared = Arc<Mutex<Store>>;

struct Shelf {
    flaw: Flaw,
    store: Shared,
    waiting: Vec<String>,
    kept: Vec<Message>,
    started: bool,
    stopping: bool,
    /// The batches of this instance.
    batches: usize,
}

impl Shelf {
    fn build(flaw: Flaw, store: &Shared) -> Self {
        let mut held = store.lock().unwrap();
        match flaw {
            Flaw::ForgetsWhenBuilt => held.known.clear(),
            Flaw::EmptiesWhenBuilt => *held = Store::default(),
            Flaw::SpawnsWhenBuilt => drop(tokio::spawn(std::future::pending::<()>())),
            _ => {}
        }
        drop(held);
        let store = store.clone();
        Self {
            flaw,
            store,
            waiting: vec![],
            kept: vec![],
            started: false,
            stopping: false,
            batches: 0,
        }
    }

    fn check(&self, batch: &[Message]) -> Result<(), DeliveryError> {
        for (index, message) in batch.iter().enumerate() {
            if let Err(error) = message.payload().read::<Box<RawValue>>() {
                return Err(match self.flaw {
                    Flaw::WaitsForTheUnreadable => DeliveryError::transient(error),
                    Flaw::BlamesAnother => DeliveryError::permanent_for(vec![0], error),
                    Flaw::BlamesAll => {
                        DeliveryError::permanent_for((0..batch.len()).collect(), error)
                    }
                    _ => DeliveryError::permanent_for(vec![index], error),
                });
            }
            let unusual = message.payload().bytes().windows(6).any(|bytes| bytes == br"\u0000");
            if self.flaw == Flaw::RefusesTheUnusual && unusual {
                return Err(DeliveryError::permanent_for(vec![index], "a zero"));
            }
        }
        Ok(())
    }

    /// Stores new messages in two steps, between which the call may be cut off.
    async fn store(&self, ids: Vec<String>) {
        let new: Vec<_> = {
            let held = self.store.lock().unwrap();
            let known = |id: &String| self.flaw != Flaw::Doubles && held.known.contains(id);
            ids.into_iter().filter(|id| !known(id)).collect()
        };
        let known = |ids: &[String]| self.store.lock().unwrap().known.extend(ids.iter().cloned());
        let keep = |ids: &[String]| self.store.lock().unwrap().ids.extend(ids.iter().cloned());
        match self.flaw {
            Flaw::LosesWhenCutOff => known(&new),
            Flaw::DoublesWhenCutOff => keep(&new),
            _ => {}
        }
        tokio::task::yield_now().await;
        if self.flaw != Flaw::DoublesWhenCutOff {
            keep(&new);
        }
        known(&new);
    }
}

#[async_trait]
impl Receiver for Shelf {
    async fn start(&mut self, _: ReceiverContext) -> Result<(), DeliveryError> {
        match self.flaw {
            Flaw::NeverStarted => return Ok(()),
            Flaw::FailsToStart => return Err(DeliveryError::transient("no network")),
            Flaw::SpawnsForGood => drop(tokio::spawn(std::future::pending::<()>())),
            _ => {}
        }
        self.started = true;
        Ok(())
    }

    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        if !self.started {
            return Err(DeliveryError::transient("not started"));
        }
        self.check(batch)?;
        self.batches += 1;
        let mut batch = batch.to_vec();
        if self.flaw == Flaw::StoresByTime {
            batch.dedup_by_key(|message| message.received_at());
        }
        let batch = &*batch;
        let mut ids: Vec<_> = batch.iter().map(|message| message.id().to_string()).collect();
        match self.flaw {
            Flaw::Loses => drop(ids.pop()),
            Flaw::TurnsAround => ids.reverse(),
            Flaw::StoresLater => ids = std::mem::replace(&mut self.waiting, ids),
            Flaw::KeepsAll => self.kept.extend_from_slice(batch),
            Flaw::AlwaysFails => return Err(DeliveryError::transient("not today")),
            Flaw::LeavesATask => drop(tokio::spawn(std::future::pending::<()>())),
            Flaw::Hangs => std::future::pending().await,
            Flaw::StopsTooEarly if self.stopping => return Ok(()),
            _ => {}
        }
        self.store(ids).await;
        Ok(())
    }

    async fn handle_inactive(&mut self, _: &[Activity]) -> Result<(), DeliveryError> {
        match self.flaw {
            Flaw::FailsOnActivity => Err(DeliveryError::permanent("what is an agent?")),
            _ => Ok(()),
        }
    }

    async fn handle_message(&mut self, message: ControlMessage) -> Result<(), DeliveryError> {
        self.stopping |= message == ControlMessage::Stopping;
        match self.flaw {
            Flaw::FailsOnControl => Err(DeliveryError::permanent("what is a host?")),
            _ => Ok(()),
        }
    }

    async fn terminate(&mut self) {
        if self.flaw == Flaw::HangsInTheEnd {
            std::future::pending().await
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        // Only a panic or a hang ends a host's receiver without a notification.
        if self.flaw == Flaw::DoublesWhatComesAgain && !self.stopping && self.batches > 1 {
            self.store.lock().unwrap().known.clear();
        }
    }
}

fn verdict_on(flaw: Flaw) -> Option<String> {
    let store = Shared::default();
    let held = store.clone();
    let factory: ReceiverFactory = Arc::new(move |_| {
        let receiver = Box::new(Shelf::build(flaw, &held)) as Box<dyn Receiver>;
        Box::pin(async { Ok(receiver) })
    });
    verdict(receiver_contract(factory, async || store.lock().unwrap().ids.clone()))
}

#[track_caller]
fn assert_found(flaw: Flaw, wanted: &[&str]) {
    let text = verdict_on(flaw).unwrap_or_else(|| panic!("{flaw:?} was not found"));
    for wanted in wanted {
        assert!(text.contains(wanted), "{flaw:?}: `{wanted}` is not in\n{text}");
    }
}

#[test]
fn a_receiver_without_a_flaw_honours_the_contract() {
    assert_eq!(verdict_on(Flaw::None), None);
}

#[test]
fn receivers_that_lose_messages() {
    assert_found(Flaw::Loses, &["a batch delivered again: message ", " is stored 0 times"]);
    let same = "500 messages received in the same microsecond: message ";
    assert_found(Flaw::StoresByTime, &[same, " is stored 0 times"]);
    assert_found(Flaw::StoresLater, &["a batch delivered again: message ", " is stored 0 times"]);
    let dropped = "an instance dropped without being terminated: message ";
    assert_found(Flaw::EmptiesWhenBuilt, &[dropped, " is stored 0 times"]);
    assert_found(
        Flaw::LosesWhenCutOff,
        &["a call cut off after 1 polls, then delivered again: message ", " is stored 0 times"],
    );
    assert_found(
        Flaw::StopsTooEarly,
        &["a stop with messages in flight: message ", " is stored 0 times"],
    );
}

#[test]
fn receivers_that_store_duplicates() {
    assert_found(Flaw::Doubles, &["a batch delivered again: message ", " is stored 2 times"]);
    let dropped = "an instance dropped without being terminated: message ";
    assert_found(Flaw::ForgetsWhenBuilt, &[dropped, " is stored 2 times"]);
    assert_found(
        Flaw::DoublesWhenCutOff,
        &["a call cut off after 1 polls, then delivered again: message ", " is stored 2 times"],
    );
}

#[test]
fn receivers_that_store_duplicates_after_a_redelivery() {
    let after = "hanging, panicking and refusing once the work was done: message ";
    assert_found(Flaw::DoublesWhatComesAgain, &[after, " is stored 2 times"]);
}

#[test]
fn receivers_that_violate_the_order() {
    assert_found(
        Flaw::TurnsAround,
        &["a batch delivered again: ", " is stored before ", " of the same agent"],
    );
}

#[test]
fn receivers_that_refuse_valid_calls() {
    assert_found(
        Flaw::AlwaysFails,
        &[
            "a batch before the end: it has to be accepted, and is not: Transient { source: \"not today\"",
        ],
    );
    assert_found(
        Flaw::RefusesTheUnusual,
        &["an unusual object: it has to be accepted, and is not: Permanent", "a zero"],
    );
    let activity = "`handle_inactive` has to succeed, and fails: Permanent";
    assert_found(Flaw::FailsOnActivity, &[activity, "what is an agent?"]);
    let control = "`handle_message` has to succeed, and fails: Permanent";
    assert_found(Flaw::FailsOnControl, &[control, "what is a host?"]);
}

#[test]
fn receivers_that_classify_errors_wrongly() {
    assert_found(
        Flaw::WaitsForTheUnreadable,
        &["a payload that cannot be read: Transient", "would be retried without limit"],
    );
    let blamed = "a payload that cannot be read: blamed are the items ";
    assert_found(Flaw::BlamesAnother, &[blamed, "[0], not 1"]);
    assert_found(Flaw::BlamesAll, &[blamed, "[0, 1, 2, 3], not 1"]);
}

#[test]
fn receivers_that_never_return() {
    assert_found(Flaw::Hangs, &["`metrics_received` did not return within 60s"]);
    assert_found(Flaw::HangsInTheEnd, &["`terminate` did not return within 60s"]);
}

#[test]
fn receivers_that_leave_tasks_behind() {
    let unused = "built, and never used: 1 tasks are left";
    assert_found(Flaw::SpawnsWhenBuilt, &[unused, "they have to end with the receiver"]);
    assert_found(Flaw::SpawnsForGood, &["started, and dropped: 1 tasks are left"]);
    assert_found(Flaw::LeavesATask, &["used, and terminated: 1 tasks are left"]);
}

#[test]
fn receivers_that_are_not_started() {
    let unstarted = "a batch before the end: it has to be accepted, and is not: Transient";
    assert_found(Flaw::NeverStarted, &[unstarted, "not started"]);
    let failed = "`start` has to succeed, and fails: Transient";
    assert_found(Flaw::FailsToStart, &[failed, "no network"]);
}

#[test]
fn receivers_that_keep_confirmed_messages() {
    assert_found(
        Flaw::KeepsAll,
        &["many messages through one instance: 2000 of 2000 payloads are still in memory"],
    );
}

#[test]
fn a_closure_is_a_receiver_like_any_other() {
    let store = Arc::new(Mutex::new(Vec::<String>::new()));
    let held = store.clone();
    let factory = poa_core::receiver_fn(move |batch| {
        let held = held.clone();
        async move {
            for (index, message) in batch.iter().enumerate() {
                let read = message.payload().read::<Box<RawValue>>();
                read.map_err(|error| DeliveryError::permanent_for(vec![index], error))?;
            }
            let mut held = held.lock().unwrap();
            for id in batch.iter().map(|message| message.id().to_string()) {
                if !held.contains(&id) {
                    held.push(id);
                }
            }
            Ok(())
        }
    });
    assert_eq!(verdict(receiver_contract(factory, async || store.lock().unwrap().clone())), None);
}
