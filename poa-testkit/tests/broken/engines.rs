//! Engines that forward to one that keeps the contract, and violate one rule.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use poa_core::engine::{
    Batch, Capabilities, Drafts, Engine, Leftover, Level, MessageIds, Receipt, SendError,
    Subscription, SubscriptionCounts, SubscriptionRequest, TypeSet,
};
use poa_core::{
    Activity, BatchLimits, BuildError, Draft, EngineFactory, Message, async_trait, engine_factory,
};
use poa_engine_local::{Log, LogConfig, Memory, MemoryConfig};
use poa_testkit::{EngineContract, Storage};

use crate::{verdict, verdict_in_real_time};

/// The violated rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// None.
    None,
    /// The last of a batch is not handed out.
    Loses,
    /// A batch is handed out with the newest first.
    TurnsAround,
    /// Every tenth message is handed out twice.
    Doubles,
    /// Messages of all types are handed out to every subscription.
    IgnoresTypes,
    /// No subscription gets changes of activity.
    ForgetsActivity,
    /// A batch has more events than it may.
    IgnoresLimits,
    /// All positions are the same.
    HasOnePosition,
    /// Events that are given back are gone.
    LosesWhatIsGivenBack,
    /// Events in flight do not count as waiting.
    ReportsNoLevel,
    /// The earlier of two subscriptions of one name waits without limit.
    IsNotTakenOver,
    /// Every receipt is positive immediately.
    AnswersEarly,
    /// A message that was dead-lettered counts as delivered.
    HidesFailures,
    /// A receipt has other ids than receivers see.
    NamesOtherIds,
    /// `delivered` has no time limit.
    NeverTimesOut,
    /// Refused messages are not returned.
    KeepsWhatItRefuses,
    /// The messages of a call are accepted one by one.
    TakesAPart,
    /// Messages without any receiver are accepted.
    AcceptsForNobody,
    /// Idempotency keys are ignored.
    ForgetsKeys,
    /// After a restart, idempotency keys are unknown.
    ForgetsKeysOverRestarts,
    /// Confirmed messages are handed out again after a restart.
    ForgetsCursors,
    /// Every subscription starts at the end.
    BeginsAtTheEnd,
    /// Skipped messages are not counted.
    SkipsSilently,
    /// Shed messages are returned only once.
    ShedsOnce,
    /// A backlog has no limit.
    HasNoBound,
    /// A batch is taken before the call is certain to return it.
    LosesWhenCutOff,
    /// It reports that it is open after its end.
    StaysOpen,
    /// Subscriptions wait after the close.
    NeverEnds,
    /// Messages that could not be stored count as stored.
    HidesFaults,
}

struct Subject {
    flaw: Flaw,
    inner: Box<dyn Engine>,
    /// The number of instances built before it.
    earlier: usize,
}

struct Reader {
    flaw: Flaw,
    inner: Arc<dyn Subscription>,
    shed: AtomicUsize,
    given_back: AtomicUsize,
}

impl Subject {
    /// Without the idempotency keys that this flaw drops.
    fn forget_keys(&self, messages: Drafts) -> Drafts {
        let forgets = match self.flaw {
            Flaw::ForgetsKeys => true,
            // The first is only asked for its capabilities.
            Flaw::ForgetsKeysOverRestarts => self.earlier > 1,
            _ => false,
        };
        if !forgets {
            return messages;
        }
        let plain = |draft: Draft| {
            Draft::new(draft.agent_id().clone(), draft.data_type().clone(), draft.payload().clone())
        };
        messages.into_vec().into_iter().map(plain).collect::<Vec<_>>().into()
    }

    fn publish_one_by_one(&self, messages: Drafts) -> Result<Receipt, SendError> {
        let mut last = Ok(Receipt::ready(None));
        for message in messages.into_vec() {
            last = Ok(self.inner.publish(message.into())?);
        }
        last
    }

    fn request(&self, mut request: SubscriptionRequest) -> SubscriptionRequest {
        match self.flaw {
            Flaw::IgnoresTypes => request.types = all_types(),
            Flaw::BeginsAtTheEnd => request.from = Default::default(),
            Flaw::SkipsSilently => request.counts = SubscriptionCounts::default(),
            Flaw::HasNoBound => request.backlog = Default::default(),
            Flaw::ForgetsCursors => {
                request.name = format!("{}-{}", request.name, self.earlier).into()
            }
            _ => {}
        }
        if self.flaw == Flaw::ForgetsCursors {
            request.from = poa_core::ReadFrom::Start;
        }
        request
    }
}

/// The same receipt, positive even for the error `hidden`.
fn hiding(mut receipt: Receipt, hidden: poa_core::ReceiptError) -> Receipt {
    let (shown, sender) = Receipt::pending(receipt.ids().clone());
    tokio::spawn(async move {
        let outcome = (&mut receipt).await;
        sender.settle(if outcome.as_ref() == Err(&hidden) { Ok(()) } else { outcome });
    });
    shown
}

/// More types than are declared.
fn all_types() -> TypeSet {
    let names: Vec<_> = (0..8).map(|n| format!("t{n}")).collect();
    poa_core::DataTypes::new(names).unwrap().iter().collect()
}

#[async_trait]
impl Engine for Subject {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn subscribe(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Arc<dyn Subscription>, BuildError> {
        let inner = self.inner.subscribe(self.request(request)).await?;
        let (shed, given_back) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Arc::new(Reader { flaw: self.flaw, inner, shed, given_back }))
    }

    async fn unsubscribe(&self, name: &str) -> Result<(), BuildError> {
        self.inner.unsubscribe(name).await
    }

    async fn start(&self) -> Result<(), BuildError> {
        self.inner.start().await
    }

    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        if self.flaw == Flaw::TakesAPart {
            return self.publish_one_by_one(messages);
        }
        let published = self.inner.publish(self.forget_keys(messages));
        match (self.flaw, published) {
            (Flaw::AnswersEarly, Ok(receipt)) => Ok(Receipt::ready(receipt.ids().clone())),

            (Flaw::NamesOtherIds, Ok(receipt)) => {
                let others = receipt.ids().as_slice().iter().map(|_| None).collect::<Vec<_>>();
                Ok(Receipt::ready(MessageIds::from(others)))
            }
            (Flaw::NeverTimesOut, Ok(receipt)) => {
                Ok(receipt.within(std::time::Duration::from_secs(3600)))
            }
            (Flaw::HidesFailures, Ok(receipt)) => {
                Ok(hiding(receipt, poa_core::ReceiptError::NotDelivered))
            }
            (Flaw::HidesFaults, Ok(receipt)) => {
                Ok(hiding(receipt, poa_core::ReceiptError::NotStored))
            }
            (Flaw::KeepsWhatItRefuses, Err(error)) => {
                Err(SendError::new(error.into_reason(), Vec::new()))
            }
            (Flaw::AcceptsForNobody, Err(error))
                if self.inner.is_open()
                    && matches!(error.reason(), poa_core::Refused::NobodySubscribed(_)) =>
            {
                Ok(Receipt::ready(None))
            }
            (_, published) => published,
        }
    }

    fn publish_activity(&self, change: Activity) {
        if self.flaw != Flaw::ForgetsActivity {
            self.inner.publish_activity(change);
        }
    }

    async fn room(&self) {
        self.inner.room().await;
    }

    fn is_open(&self) -> bool {
        self.flaw == Flaw::StaysOpen || self.inner.is_open()
    }

    fn close(&self) {
        self.inner.close();
    }

    async fn finish(&self) -> Leftover {
        self.inner.finish().await
    }
}

impl Reader {
    fn spoil(&self, mut batch: Batch) -> Batch {
        match self.flaw {
            Flaw::Loses if batch.len() > 1 => drop(batch.pop()),
            Flaw::TurnsAround => {
                let mut events: Vec<_> = batch.iter().map(|(_, event)| event.clone()).collect();
                events.reverse();
                batch = batch.iter().map(|(at, _)| *at).zip(events).collect();
            }
            Flaw::HasOnePosition => batch.iter_mut().for_each(|(at, _)| *at = 7),
            Flaw::Doubles => {
                let (at, event) = batch[0].clone();
                if at % 10 == 0 {
                    batch.insert(0, (at.saturating_sub(1), event));
                }
            }
            _ => {}
        }
        batch
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next_batch(&self, limits: &BatchLimits) -> Option<Batch> {
        let mut limits = *limits;
        if self.flaw == Flaw::IgnoresLimits {
            limits.size += 1;
        }
        if self.flaw == Flaw::LosesWhenCutOff {
            let batch = self.inner.next_batch(&limits).await?;
            tokio::task::yield_now().await;
            return Some(batch);
        }
        if self.flaw == Flaw::LosesWhatIsGivenBack && self.given_back.swap(0, Ordering::Relaxed) > 0
        {
            self.inner.next_batch(&limits).await?;
            self.inner.confirm(&[]);
        }
        let batch = self.inner.next_batch(&limits).await;
        match (batch, self.flaw) {
            (None, Flaw::NeverEnds | Flaw::IsNotTakenOver) => std::future::pending().await,
            (batch, _) => batch.map(|batch| self.spoil(batch)),
        }
    }

    fn confirm(&self, failed: &[u64]) {
        self.inner.confirm(failed);
    }

    fn give_back(&self) {
        self.given_back.store(1, Ordering::Relaxed);
        self.inner.give_back();
    }

    fn abandon(&self) {
        self.inner.abandon();
    }

    fn level(&self) -> Level {
        match self.flaw {
            Flaw::ReportsNoLevel => Level::default(),
            _ => self.inner.level(),
        }
    }

    async fn next_shed(&self) -> Vec<Message> {
        let letters = self.inner.next_shed().await;
        if self.flaw == Flaw::ShedsOnce && self.shed.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            self.inner.shed_kept(letters.len());
            return self.inner.next_shed().await;
        }
        letters
    }

    fn shed(&self) -> Vec<Message> {
        self.inner.shed()
    }

    fn shed_kept(&self, count: usize) {
        self.inner.shed_kept(count);
    }
}

/// An engine with this flaw on top of one that keeps the contract.
fn around(flaw: Flaw, inner: EngineFactory) -> EngineFactory {
    let built = AtomicUsize::new(0);
    Arc::new(move |cx| {
        let (inner, earlier) = (inner.clone(), built.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let inner = inner(cx).await?;
            let subject = Subject { flaw, inner, earlier };
            Ok(Box::new(subject) as Box<dyn Engine>)
        })
    })
}

fn in_memory(flaw: Flaw) -> Option<String> {
    let fresh = move || around(flaw, engine_factory::<Memory>(MemoryConfig::default()));
    verdict(async { EngineContract::new(fresh).check().await })
}

fn on_a_log(flaw: Flaw) -> Option<String> {
    // A file for each group, so that it cannot be written once its directory is gone.
    let log = || engine_factory::<Log>(LogConfig::default().segment_bytes(1));
    let contract = EngineContract::new(move || around(flaw, log()));
    verdict_in_real_time(async { contract.with_storage_fault(move_away).check().await })
}

fn move_away(data_dir: &Path, storage: Storage) {
    let (log, away) = (data_dir.join("log"), data_dir.join("away"));
    match storage {
        Storage::Fails => std::fs::rename(log, away).unwrap(),
        Storage::Works => std::fs::rename(away, log).unwrap(),
    }
}

#[track_caller]
fn assert_found(flaw: Flaw, found: Option<String>, wanted: &str) {
    let text = found.unwrap_or_else(|| panic!("{flaw:?} was not found"));
    assert!(text.contains(wanted), "{flaw:?}: `{wanted}` is not in\n{text}");
}

#[test]
fn an_engine_without_a_flaw_keeps_the_contract() {
    assert_eq!(in_memory(Flaw::None), None);
}

#[test]
fn engines_that_hand_out_other_events() {
    let two = "messages of two types for two subscriptions: ";
    for (flaw, wanted) in [
        (Flaw::Loses, ""),
        (Flaw::TurnsAround, "comes after"),
        (Flaw::Doubles, ""),
        (Flaw::IgnoresTypes, "other messages arrived than expected"),
        (Flaw::ForgetsActivity, "changes of activity go to all"),
        (Flaw::IgnoresLimits, "8 events in a batch"),
        (Flaw::HasOnePosition, "positions do not grow"),
    ] {
        let found = in_memory(flaw);
        assert_found(flaw, found.clone(), two);
        assert_found(flaw, found, wanted);
    }
    let back = "a batch that was given back: ";
    assert_found(Flaw::LosesWhatIsGivenBack, in_memory(Flaw::LosesWhatIsGivenBack), back);
    assert_found(Flaw::ReportsNoLevel, in_memory(Flaw::ReportsNoLevel), back);
    let second = "a second subscription of the same name: not within";
    assert_found(Flaw::IsNotTakenOver, in_memory(Flaw::IsNotTakenOver), second);
}

#[test]
fn engines_whose_receipts_are_wrong() {
    for (flaw, wanted) in [
        (Flaw::AnswersEarly, "the receipt resolves before the receiver has confirmed"),
        (Flaw::HidesFailures, "`ack = \"delivered\"`: a message that was dead-lettered"),
        (Flaw::NamesOtherIds, "receivers see the id of the receipt"),
        (Flaw::NeverTimesOut, "a receipt: not within"),
        (Flaw::KeepsWhatItRefuses, "they come back as they were"),
        (Flaw::AcceptsForNobody, "without any subscription"),
        (Flaw::TakesAPart, "a receipt has an id for each message"),
        (Flaw::ForgetsKeys, "it has the id of the first"),
    ] {
        assert_found(flaw, in_memory(flaw), wanted);
    }
}

#[test]
fn engines_that_exceed_their_limit() {
    for (flaw, wanted) in [
        (Flaw::HasNoBound, "a full backlog that refuses: it grows without an end"),
        (
            Flaw::SkipsSilently,
            "a full backlog skips what exceeds its limit, and counts it: not within",
        ),
        (Flaw::ShedsOnce, "shed messages that are not durable"),
    ] {
        assert_found(flaw, in_memory(flaw), wanted);
    }
}

#[test]
fn engines_that_do_not_end() {
    let open = "an engine that was not started has to be closed";
    assert_found(Flaw::StaysOpen, in_memory(Flaw::StaysOpen), open);
    assert_found(Flaw::NeverEnds, in_memory(Flaw::NeverEnds), "not within");
}

#[test]
fn engines_that_lose_what_is_cut_off() {
    let cut = "calls for a batch that were dropped: other messages arrived";
    assert_found(Flaw::LosesWhenCutOff, in_memory(Flaw::LosesWhenCutOff), cut);
}

#[test]
fn engines_that_do_not_survive_a_restart() {
    for (flaw, wanted) in [
        (Flaw::ForgetsKeysOverRestarts, "after a restart: it has the id of the first"),
        (Flaw::ForgetsCursors, "1 comes after Some(1000000)"),
        (Flaw::BeginsAtTheEnd, "a new subscription"),
        (Flaw::HidesFaults, "storage that fails: message 5 counts as stored"),
    ] {
        assert_found(flaw, on_a_log(flaw), wanted);
    }
}
