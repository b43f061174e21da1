use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;

use poa_core::config::Size;
use poa_core::engine::{
    Acks, Batch, BusSettings, Event, Party, Receipt, Refused, Subscription as _,
    SubscriptionCounts, SubscriptionRequest, TypeSet, Unrouted,
};
use poa_core::telemetry::Counter;
use poa_core::{
    Ack, Activity, AgentId, Backlog, BatchLimits, BuildContext, DataTypes, Draft, IdempotencyKey,
    Payload, ReceiptError, ReceiverOptions, WhenFull,
};

use crate::handle::Handle as Reader;
use crate::local::Local as Bus;

struct Fixture {
    bus: Arc<Bus>,
    types: DataTypes,
    skipped: Counter,
    unrouted: Counter,
    repeated: Counter,
    readers: AtomicUsize,
}

fn fixture(ack: Ack) -> Fixture {
    let types = DataTypes::new(["a", "b"]).unwrap();
    let mut settings = BusSettings::new(Acks::new(&types, |_| ack, Duration::from_secs(30)));
    settings.unrouted = Unrouted::Allow;
    let (unrouted, repeated) = (settings.counts.unrouted.clone(), settings.counts.repeated.clone());
    let cx = BuildContext::detached("memory", "").with_data_types(types.clone()).with_bus(settings);
    let bus = Bus::in_memory(&cx);
    bus.open();
    let (skipped, readers) = (Counter::default(), AtomicUsize::new(0));
    Fixture { bus, types, skipped, unrouted, repeated, readers }
}

impl Fixture {
    fn reader(&self, types: &[&str], backlog: Backlog) -> Reader {
        self.reader_with(types, |mut options| {
            options.backlog = backlog;
            options
        })
    }

    /// The readers are called `reader-0`, `reader-1` and so on.
    fn reader_with(
        &self,
        types: &[&str],
        change: impl FnOnce(ReceiverOptions) -> ReceiverOptions,
    ) -> Reader {
        let name = format!("reader-{}", self.readers.fetch_add(1, Ordering::Relaxed));
        self.subscribe(&name, types, change)
    }

    fn subscribe(
        &self,
        name: &str,
        types: &[&str],
        change: impl FnOnce(ReceiverOptions) -> ReceiverOptions,
    ) -> Reader {
        let set: TypeSet = types.iter().map(|name| self.types.get(name).unwrap()).collect();
        let options = change(ReceiverOptions::subscribe(types.to_vec()));
        let mut counts = SubscriptionCounts::default();
        counts.skipped = self.skipped.clone();
        let request = SubscriptionRequest::new(name, set, &options).with_counts(counts);
        self.bus.subscribe(&request, options.backlog, None)
    }

    fn publish(&self, drafts: impl Into<Vec<Draft>>) -> Result<Receipt, Refused> {
        self.bus.publish(drafts.into().into()).map_err(Refused::from)
    }

    fn keyed(&self, n: usize, key: &str) -> Draft {
        let draft = self.draft("a", n);
        let key = IdempotencyKey::new(draft.agent_id(), key).unwrap();
        draft.with_idempotency_key(key)
    }

    fn draft(&self, data_type: &str, n: usize) -> Draft {
        let data_type = self.types.get(data_type).unwrap().clone();
        let payload = Payload::json(&serde_json::json!({ "n": n })).unwrap();
        Draft::new(AgentId::new("agent").unwrap(), data_type, payload)
    }
}

fn bounded(bytes: Option<u64>, age: Option<Duration>, when_full: WhenFull) -> Backlog {
    let mut backlog = Backlog::default();
    backlog.max_bytes = bytes.map(Size::bytes);
    backlog.max_age = age.map(Into::into);
    backlog.when_full = when_full;
    backlog
}

fn room_for(drafts: &[Draft], when_full: WhenFull) -> Backlog {
    let bytes: usize = drafts.iter().map(Draft::footprint).sum();
    bounded(Some(bytes as u64), None, when_full)
}

fn numbers(batch: &Batch) -> Vec<usize> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: usize,
    }
    batch
        .iter()
        .map(|(_, event)| match event {
            Event::Message(message) => message.payload().read::<Numbered>().unwrap().n,
            Event::Activity(change) => panic!("unexpected {change:?}"),
        })
        .collect()
}

fn limits(size: usize, linger: Duration) -> BatchLimits {
    {
        let mut limits = BatchLimits::default();
        (limits.size, limits.linger) = (size, linger.into());
        limits
    }
}

#[tokio::test]
async fn readers_get_their_types_in_order() {
    let fixture = fixture(Ack::Memory);
    let both = fixture.reader(&["a", "b"], Backlog::default());
    let only_b = fixture.reader(&["b"], Backlog::default());
    for n in 0..4 {
        let data_type = if n % 2 == 0 { "a" } else { "b" };
        fixture.publish([fixture.draft(data_type, n)]).unwrap().await.unwrap();
    }
    let limits = limits(10, Duration::ZERO);
    assert_eq!(numbers(&both.next_batch(&limits).await.unwrap()), [0, 1, 2, 3]);
    assert_eq!(numbers(&only_b.next_batch(&limits).await.unwrap()), [1, 3]);
}

#[tokio::test]
async fn messages_without_a_reader_are_counted() {
    let fixture = fixture(Ack::Delivered);
    let _reader = fixture.reader(&["a"], Backlog::default());
    fixture.publish([fixture.draft("b", 0)]).unwrap().await.unwrap();
    assert_eq!(fixture.unrouted.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_at_its_size_or_after_its_linger() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let limits = limits(2, Duration::from_secs(5));
    let begin = tokio::time::Instant::now();
    for n in 0..3 {
        let _receipt = fixture.publish([fixture.draft("a", n)]).unwrap();
    }
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [0, 1]);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [2]);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn a_batch_ends_at_its_bytes() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let drafts: Vec<_> = (0..3).map(|n| fixture.draft("a", n)).collect();
    let bytes = Size::bytes(2 * drafts[0].footprint() as u64);
    let _receipt = fixture.publish(drafts).unwrap();
    let mut limits = limits(10, Duration::ZERO);
    limits.bytes = bytes;
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [0, 1]);
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [2]);
}

#[tokio::test]
async fn a_full_backlog_refuses_all_of_a_batch() {
    let fixture = fixture(Ack::Memory);
    let drafts: Vec<_> = (0..3).map(|n| fixture.draft("a", n)).collect();
    let full = fixture.reader(&["a"], room_for(&drafts[..2], WhenFull::Refuse));
    let other = fixture.reader(&["a"], Backlog::default());
    let _receipt = fixture.publish([drafts[0].clone()]).unwrap();
    let refused = fixture.publish(drafts[1..].to_vec()).unwrap_err();
    assert_eq!(refused, Refused::BacklogFull { receiver: "reader-0".into() });
    assert_eq!(other.level().events, 1);

    // Events in flight still count; confirmed ones do not.
    full.next_batch(&limits(1, Duration::ZERO)).await.unwrap();
    fixture.publish(drafts[1..].to_vec()).unwrap_err();
    full.confirm(&[]);
    let _receipt = fixture.publish(drafts[1..].to_vec()).unwrap();
}

#[tokio::test]
async fn a_message_larger_than_the_backlog_is_accepted_when_it_is_empty() {
    let fixture = fixture(Ack::Memory);
    let tiny = bounded(Some(1), None, WhenFull::Refuse);
    let _reader = fixture.reader(&["a"], tiny);
    let _receipt = fixture.publish([fixture.draft("a", 0)]).unwrap();
    fixture.publish([fixture.draft("a", 1)]).unwrap_err();
}

#[tokio::test]
async fn a_reader_that_skips_loses_its_oldest_and_counts_them() {
    let fixture = fixture(Ack::Memory);
    let drafts: Vec<_> = (0..5).map(|n| fixture.draft("a", n)).collect();
    let skipping = fixture.reader(&["a"], room_for(&drafts[..2], WhenFull::Skip));
    let _receipt = fixture.publish(drafts).unwrap();
    assert_eq!(fixture.skipped.get(), 3);
    let batch = skipping.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    assert_eq!(numbers(&batch), [3, 4]);
}

#[tokio::test]
async fn delivered_waits_for_every_reader() {
    let fixture = fixture(Ack::Delivered);
    let one = fixture.reader(&["a"], Backlog::default());
    let two = fixture.reader(&["a"], Backlog::default());
    let mut receipt = fixture.publish([fixture.draft("a", 0)]).unwrap();
    let limits = limits(10, Duration::ZERO);
    one.next_batch(&limits).await.unwrap();
    one.confirm(&[]);
    assert!((&mut receipt).now_or_never().is_none());
    two.next_batch(&limits).await.unwrap();
    two.confirm(&[]);
    assert_eq!(receipt.await, Ok(()));
}

#[tokio::test]
async fn failed_or_skipped_messages_are_not_acknowledged_as_delivered() {
    let fixture = fixture(Ack::Delivered);
    let drafts: Vec<_> = (0..2).map(|n| fixture.draft("a", n)).collect();
    let reader = fixture.reader(&["a"], room_for(&drafts[..1], WhenFull::Skip));
    let [first, second] = drafts.try_into().unwrap();
    let skipped = fixture.publish([first.clone()]).unwrap();
    let failed = fixture.publish([second]).unwrap();
    let limits = limits(10, Duration::ZERO);
    let batch = reader.next_batch(&limits).await.unwrap();
    reader.confirm(&[batch[0].0]);
    assert_eq!(skipped.await, Err(ReceiptError::NotDelivered));
    assert_eq!(failed.await, Err(ReceiptError::NotDelivered));
    let fine = fixture.publish([first]).unwrap();
    reader.next_batch(&limits).await.unwrap();
    reader.confirm(&[]);
    assert_eq!(fine.await, Ok(()));
}

#[tokio::test]
async fn a_closed_bus_refuses_messages_and_hands_out_the_rest() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let _receipt = fixture.publish([fixture.draft("a", 0)]).unwrap();
    fixture.bus.close();
    assert_eq!(fixture.publish([fixture.draft("a", 1)]).unwrap_err(), Refused::Stopping);
    let limits = limits(10, Duration::from_secs(3600));
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [0]);
    assert!(reader.next_batch(&limits).await.is_none());
}

#[tokio::test]
async fn a_sleeping_reader_is_woken_by_close() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let limits = limits(10, Duration::ZERO);
    let (end, ()) = tokio::join!(reader.next_batch(&limits), async { fixture.bus.close() });
    assert!(end.is_none());
}

#[tokio::test]
async fn delivered_waits_only_for_the_critical_readers_if_there_are_any() {
    let fixture = fixture(Ack::Delivered);
    let critical = fixture.reader_with(&["a"], ReceiverOptions::critical);
    let _other = fixture.reader_with(&["a", "b"], |options| options);
    let receipt = fixture.publish([fixture.draft("a", 0)]).unwrap();
    critical.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    critical.confirm(&[]);
    assert_eq!(receipt.await, Ok(()));
    // No critical reader subscribes to this type, so none is waited for.
    fixture.publish([fixture.draft("b", 0)]).unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn delivered_waits_no_longer_than_its_limit() {
    let fixture = fixture(Ack::Delivered);
    let reader = fixture.reader(&["a"], Backlog::default());
    let receipt = fixture.publish([fixture.draft("a", 0)]).unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(receipt.await, Err(ReceiptError::TimedOut));
    assert_eq!(begin.elapsed().as_secs(), 30);
    assert_eq!(reader.level().events, 1);
}

#[tokio::test]
async fn a_message_sent_again_with_its_key_is_accepted_once() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let keyed = |n, key| fixture.keyed(n, key);
    fixture.publish([keyed(0, "x")]).unwrap().await.unwrap();
    fixture.publish([keyed(0, "x")]).unwrap().await.unwrap();
    let other = fixture.publish(vec![keyed(1, "z"), keyed(1, "x")]);
    assert_eq!(other.unwrap_err(), Refused::KeyReused);
    fixture.publish(vec![keyed(2, "y"), keyed(2, "y")]).unwrap().await.unwrap();
    let batch = reader.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    assert_eq!(numbers(&batch), [0, 2]);
    assert_eq!(fixture.repeated.get(), 2);
}

#[tokio::test]
async fn a_duplicate_is_acknowledged_as_delivered_when_the_first_is() {
    let fixture = fixture(Ack::Delivered);
    let critical = fixture.reader_with(&["a"], ReceiverOptions::critical);
    let other = fixture.reader_with(&["a"], |options| options);
    let send = |n, key| fixture.publish([fixture.keyed(n, key)]).unwrap();
    let _first = (send(0, "good"), send(1, "bad"));
    let limits = limits(10, Duration::ZERO);
    let batch = critical.next_batch(&limits).await.unwrap();
    let mut again = (send(0, "good"), send(1, "bad"));
    assert!((&mut again.0).now_or_never().is_none());
    critical.confirm(&[batch[1].0]);
    assert_eq!(again.0.await, Ok(()));
    assert_eq!(again.1.await, Err(ReceiptError::NotDelivered));
    // Once it is settled, the result is remembered; a reader that is not critical does not affect
    // it.
    assert_eq!(send(0, "good").await, Ok(()));
    assert_eq!(send(1, "bad").await, Err(ReceiptError::NotDelivered));
    let batch = other.next_batch(&limits).await.unwrap();
    other.confirm(&[batch[0].0]);
    assert_eq!(send(0, "good").await, Ok(()));
}

/// Dead letters that cannot be stored hold up only the types of their receiver.
#[tokio::test]
async fn a_full_receiver_refuses_only_its_own_types() {
    let fixture = fixture(Ack::Memory);
    let one = [fixture.draft("a", 0)];
    let _full = fixture.reader(&["a"], room_for(&one, WhenFull::DeadLetter));
    let _other = fixture.reader(&["b"], Backlog::default());
    let payload = Payload::json(&serde_json::json!({ "pad": "x".repeat(1 << 20) })).unwrap();
    let large = || {
        let data_type = fixture.types.get("a").unwrap().clone();
        Draft::new(AgentId::new("agent").unwrap(), data_type, payload.clone())
    };
    for _ in 0..100 {
        let _ = fixture.publish([large()]);
    }
    fixture.publish([large()]).unwrap_err();
    let _receipt = fixture.publish([fixture.draft("b", 0)]).unwrap();
}

/// However often agents come and go.
#[tokio::test]
async fn without_room_only_the_last_change_of_each_agent_is_kept() {
    let fixture = fixture(Ack::Memory);
    let drafts = [fixture.draft("a", 0), fixture.draft("a", 1)];
    let full = fixture.reader(&["a"], room_for(&drafts, WhenFull::Refuse));
    let _receipt = fixture.publish(drafts).unwrap();
    let change = |n: usize, active| {
        let agent = AgentId::new(format!("agent {}", n % 10)).unwrap();
        fixture.bus.publish_activity(Activity::new(agent, active, poa_core::Timestamp::now()));
    };
    for n in 0..10_000 {
        change(n, true);
        change(n, false);
    }
    assert_eq!(full.level().events, 2);
    let limits = limits(100, Duration::ZERO);
    full.next_batch(&limits).await.unwrap();
    full.confirm(&[]);
    let batch = full.next_batch(&limits).await.unwrap();
    let inactive = |event: &Event| matches!(event, Event::Activity(change) if !change.active);
    assert_eq!(batch.iter().filter(|(_, event)| inactive(event)).count(), 10);
    assert_eq!(batch.len(), 10);
}

#[tokio::test]
async fn messages_that_wait_too_long_are_refused_or_skipped() {
    let fixture = fixture(Ack::Memory);
    let old = |when_full| bounded(None, Some(Duration::from_nanos(1)), when_full);
    let skipping = fixture.reader(&["a"], old(WhenFull::Skip));
    let _first = fixture.publish([fixture.draft("a", 0)]).unwrap();
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
    // The receiver is stuck: its messages are shed without being read by it.
    assert!(skipping.next_shed().now_or_never().is_none());
    assert_eq!(fixture.skipped.get(), 1);
    assert_eq!(skipping.level().events, 0);

    let _refusing = fixture.reader(&["a"], old(WhenFull::Refuse));
    let _second = fixture.publish([fixture.draft("a", 1)]).unwrap();
    while begin.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    let refused = fixture.publish([fixture.draft("a", 2)]).unwrap_err();
    assert!(matches!(refused, Refused::BacklogFull { .. }));
}

#[tokio::test]
async fn events_in_flight_go_to_the_handle_that_takes_over() {
    let fixture = fixture(Ack::Delivered);
    let old = fixture.subscribe("r", &["a"], |options| options);
    let drafts: Vec<_> = (0..3).map(|n| fixture.draft("a", n)).collect();
    let receipt = fixture.publish(drafts).unwrap();
    let limits = limits(2, Duration::ZERO);
    assert_eq!(numbers(&old.next_batch(&limits).await.unwrap()), [0, 1]);
    let new = fixture.subscribe("r", &["a", "b"], |options| options);
    assert!(old.next_batch(&limits).await.is_none(), "another handle has taken over");
    old.confirm(&[]);
    assert_eq!(new.level().events, 3);
    assert_eq!(numbers(&new.next_batch(&limits).await.unwrap()), [0, 1]);
    new.give_back();
    for expected in [[0, 1].as_slice(), &[2]] {
        assert_eq!(numbers(&new.next_batch(&limits).await.unwrap()), expected);
        new.confirm(&[]);
    }
    assert_eq!(receipt.await, Ok(()));
    let _receipt = fixture.publish([fixture.draft("b", 4)]).unwrap();
    assert_eq!(numbers(&new.next_batch(&limits).await.unwrap()), [4]);
}

#[tokio::test]
async fn a_removed_subscriber_holds_up_nothing() {
    let fixture = fixture(Ack::Delivered);
    let gone = fixture.subscribe("gone", &["a"], |options| options);
    let receipt = fixture.publish([fixture.draft("a", 0)]).unwrap();
    fixture.bus.state.lock().unsubscribe("gone");
    assert_eq!(receipt.await, Ok(()));
    assert!(gone.next_batch(&limits(1, Duration::ZERO)).await.is_none());
    assert_eq!(fixture.bus.state.lock().active().count(), 0);
}

#[tokio::test]
async fn senders_learn_the_ids_that_receivers_see() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let sent = [fixture.keyed(0, "x"), fixture.draft("b", 1), fixture.draft("a", 2)];
    let ids = fixture.publish(sent).unwrap().ids().as_slice().to_vec();
    let again = fixture.publish([fixture.keyed(0, "x")]).unwrap().id();
    let batch = reader.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    let seen: Vec<_> = batch
        .iter()
        .map(|(_, event)| match event {
            Event::Message(message) => Some(message.id()),
            Event::Activity(_) => None,
        })
        .collect();
    assert_eq!(ids, [seen[0], None, seen[1]]);
    assert_eq!(again, seen[0]);
}

/// A user who fills a backlog leaves room for others, and is the one that is told to wait.
#[tokio::test]
async fn one_user_cannot_fill_the_backlog_for_all() {
    let fixture = fixture(Ack::Memory);
    let _stuck = fixture.reader(&["a"], bounded(Some(4 << 20), None, WhenFull::Refuse));
    let send = |user: &str| fixture.publish([fixture.draft("a", 0).with_sender(user.into())]);
    let flooded = std::iter::repeat_with(|| send("flooding")).find_map(Result::err);
    assert!(matches!(flooded, Some(Refused::BacklogFull { .. })), "{flooded:?}");
    // Two users in a thousand share a counter, and the hash is keyed at random in each process.
    let names = (0..4).map(|n| format!("quiet-{n}"));
    let quiet = names.into_iter().find(|name| send(name).is_ok()).unwrap();
    for _ in 0..1000 {
        drop(send(&quiet).unwrap());
    }
    let over = Refused::OverShare { of: Party::User, what: "backlog" };
    assert_eq!(send("flooding").unwrap_err(), over);
    drop(send(&quiet).unwrap());
}

/// If the oldest messages are dead-lettered, a flood must not evict those of others.
#[tokio::test]
async fn one_user_does_not_evict_others_from_a_backlog_that_sheds() {
    let fixture = fixture(Ack::Memory);
    let _stuck = fixture.reader(&["a"], bounded(Some(4 << 20), None, WhenFull::Skip));
    let send = |user: &str| fixture.publish([fixture.draft("a", 0).with_sender(user.into())]);
    for n in 0..1000 {
        drop(send(&format!("quiet-{}", n % 4)).unwrap());
    }
    let flooded = std::iter::repeat_with(|| send("flooding")).find_map(Result::err);
    assert_eq!(flooded, Some(Refused::OverShare { of: Party::User, what: "backlog" }));
    assert_eq!(fixture.skipped.get(), 0);
}
