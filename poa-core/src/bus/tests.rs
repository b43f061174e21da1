use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::{Acks, Batch, Bus, BusCounts, Event, KeyWindow, Reader, ReaderCounts, Refused};
use crate::config::Size;
use crate::data_type::TypeSet;
use crate::telemetry::Counter;
use crate::{
    Ack, Activity, AgentId, Backlog, BatchLimits, DataTypes, Draft, IdempotencyKey, Payload,
    ReceiptError, ReceiverOptions, WhenFull,
};

struct Fixture {
    bus: Arc<Bus>,
    types: DataTypes,
    skipped: Counter,
}

fn fixture(ack: Ack) -> Fixture {
    let types = DataTypes::new(["a", "b"]).unwrap();
    let acks = Acks { by_type: [ack, ack].into(), delivered_within: Duration::from_secs(30) };
    Fixture {
        bus: Bus::in_memory(types.clone(), acks, BusCounts::default(), KeyWindow::default()),
        types,
        skipped: Counter::default(),
    }
}

impl Fixture {
    fn reader(&self, types: &[&str], backlog: Backlog) -> Reader {
        self.reader_with(types, |options| ReceiverOptions { backlog, ..options })
    }

    fn reader_with(
        &self,
        types: &[&str],
        change: impl FnOnce(ReceiverOptions) -> ReceiverOptions,
    ) -> Reader {
        let mut set = TypeSet::default();
        types.iter().for_each(|name| set.insert(self.types.get(name).unwrap()));
        let options = change(ReceiverOptions::subscribe(types.to_vec()));
        self.bus.subscribe(
            "reader",
            set,
            &options,
            ReaderCounts { skipped: self.skipped.clone(), ..Default::default() },
            None,
        )
    }

    fn keyed(&self, n: usize, key: &str) -> Draft {
        let draft = self.draft("a", n);
        let key = IdempotencyKey::new(&draft.agent_id, key).unwrap();
        draft.with_idempotency_key(key)
    }

    fn draft(&self, data_type: &str, n: usize) -> Draft {
        let data_type = self.types.get(data_type).unwrap().clone();
        let payload = Payload::json(&serde_json::json!({ "n": n })).unwrap();
        Draft::new(AgentId::new("agent").unwrap(), data_type, payload)
    }
}

fn room_for(drafts: &[Draft], when_full: WhenFull) -> Backlog {
    let bytes: usize = drafts.iter().map(Draft::footprint).sum();
    Backlog { max_bytes: Some(Size::bytes(bytes as u64)), when_full, ..Backlog::default() }
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
    BatchLimits { size, linger: linger.into(), ..BatchLimits::default() }
}

#[tokio::test]
async fn readers_get_their_types_in_order() {
    let fixture = fixture(Ack::Memory);
    let both = fixture.reader(&["a", "b"], Backlog::default());
    let only_b = fixture.reader(&["b"], Backlog::default());
    for n in 0..4 {
        let data_type = if n % 2 == 0 { "a" } else { "b" };
        fixture.bus.publish([fixture.draft(data_type, n)]).unwrap().await.unwrap();
    }
    let limits = limits(10, Duration::ZERO);
    assert_eq!(numbers(&both.next_batch(&limits).await.unwrap()), [0, 1, 2, 3]);
    assert_eq!(numbers(&only_b.next_batch(&limits).await.unwrap()), [1, 3]);
}

#[tokio::test]
async fn what_nobody_reads_is_counted() {
    let fixture = fixture(Ack::Delivered);
    let _reader = fixture.reader(&["a"], Backlog::default());
    fixture.bus.publish([fixture.draft("b", 0)]).unwrap().await.unwrap();
    assert_eq!(fixture.bus.counts().unrouted.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_at_its_size_or_after_its_linger() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let limits = limits(2, Duration::from_secs(5));
    let begin = tokio::time::Instant::now();
    for n in 0..3 {
        let _receipt = fixture.bus.publish([fixture.draft("a", n)]).unwrap();
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
    let _receipt = fixture.bus.publish(drafts).unwrap();
    let limits = BatchLimits { bytes, ..limits(10, Duration::ZERO) };
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [0, 1]);
    assert_eq!(numbers(&reader.next_batch(&limits).await.unwrap()), [2]);
}

#[tokio::test]
async fn a_full_backlog_refuses_all_of_a_batch() {
    let fixture = fixture(Ack::Memory);
    let drafts: Vec<_> = (0..3).map(|n| fixture.draft("a", n)).collect();
    let full = fixture.reader(&["a"], room_for(&drafts[..2], WhenFull::Refuse));
    let other = fixture.reader(&["a"], Backlog::default());
    let _receipt = fixture.bus.publish([drafts[0].clone()]).unwrap();
    let refused = fixture.bus.publish(drafts[1..].to_vec()).unwrap_err();
    assert_eq!(refused, Refused::BacklogFull { receiver: "reader".into() });
    assert_eq!(other.backlog().count, 1);

    // What is in hand still counts; what was confirmed does not.
    full.next_batch(&limits(1, Duration::ZERO)).await.unwrap();
    fixture.bus.publish(drafts[1..].to_vec()).unwrap_err();
    full.confirm(Vec::new());
    let _receipt = fixture.bus.publish(drafts[1..].to_vec()).unwrap();
}

#[tokio::test]
async fn a_message_larger_than_the_backlog_passes_when_nothing_waits() {
    let fixture = fixture(Ack::Memory);
    let tiny = Backlog { max_bytes: Some(Size::bytes(1)), ..Backlog::default() };
    let _reader = fixture.reader(&["a"], tiny);
    let _receipt = fixture.bus.publish([fixture.draft("a", 0)]).unwrap();
    fixture.bus.publish([fixture.draft("a", 1)]).unwrap_err();
}

#[tokio::test]
async fn a_reader_that_skips_loses_its_oldest_and_counts_them() {
    let fixture = fixture(Ack::Memory);
    let drafts: Vec<_> = (0..5).map(|n| fixture.draft("a", n)).collect();
    let skipping = fixture.reader(&["a"], room_for(&drafts[..2], WhenFull::Skip));
    let _receipt = fixture.bus.publish(drafts).unwrap();
    assert_eq!(fixture.skipped.get(), 3);
    let batch = skipping.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    assert_eq!(numbers(&batch), [3, 4]);
}

#[tokio::test]
async fn delivered_waits_for_every_reader() {
    let fixture = fixture(Ack::Delivered);
    let one = fixture.reader(&["a"], Backlog::default());
    let two = fixture.reader(&["a"], Backlog::default());
    let mut receipt = fixture.bus.publish([fixture.draft("a", 0)]).unwrap();
    let limits = limits(10, Duration::ZERO);
    one.next_batch(&limits).await.unwrap();
    one.confirm(Vec::new());
    assert!((&mut receipt).now_or_never().is_none());
    two.next_batch(&limits).await.unwrap();
    two.confirm(Vec::new());
    assert_eq!(receipt.await, Ok(()));
}

#[tokio::test]
async fn delivered_is_not_said_of_what_failed_or_was_skipped() {
    let fixture = fixture(Ack::Delivered);
    let drafts: Vec<_> = (0..2).map(|n| fixture.draft("a", n)).collect();
    let reader = fixture.reader(&["a"], room_for(&drafts[..1], WhenFull::Skip));
    let [first, second] = drafts.try_into().unwrap();
    let skipped = fixture.bus.publish([first.clone()]).unwrap();
    let failed = fixture.bus.publish([second]).unwrap();
    let limits = limits(10, Duration::ZERO);
    let batch = reader.next_batch(&limits).await.unwrap();
    reader.confirm(vec![batch[0].0]);
    assert_eq!(skipped.await, Err(ReceiptError::NotDelivered));
    assert_eq!(failed.await, Err(ReceiptError::NotDelivered));
    let fine = fixture.bus.publish([first]).unwrap();
    reader.next_batch(&limits).await.unwrap();
    reader.confirm(Vec::new());
    assert_eq!(fine.await, Ok(()));
}

#[tokio::test]
async fn a_closed_bus_refuses_and_gives_out_what_is_left() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let _receipt = fixture.bus.publish([fixture.draft("a", 0)]).unwrap();
    fixture.bus.close();
    assert_eq!(fixture.bus.publish([fixture.draft("a", 1)]).unwrap_err(), Refused::Stopping);
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
async fn delivered_waits_for_the_critical_readers_alone_if_there_are_any() {
    let fixture = fixture(Ack::Delivered);
    let critical = fixture.reader_with(&["a"], ReceiverOptions::critical);
    let _other = fixture.reader_with(&["a", "b"], |options| options);
    let receipt = fixture.bus.publish([fixture.draft("a", 0)]).unwrap();
    critical.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    critical.confirm(Vec::new());
    assert_eq!(receipt.await, Ok(()));
    // Nobody critical gets this type, so nobody is waited for.
    fixture.bus.publish([fixture.draft("b", 0)]).unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn delivered_waits_only_so_long() {
    let fixture = fixture(Ack::Delivered);
    let reader = fixture.reader(&["a"], Backlog::default());
    let receipt = fixture.bus.publish([fixture.draft("a", 0)]).unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(receipt.await, Err(ReceiptError::TimedOut));
    assert_eq!(begin.elapsed().as_secs(), 30);
    assert_eq!(reader.backlog().count, 1);
}

#[tokio::test]
async fn a_message_sent_again_with_its_key_is_taken_once() {
    let fixture = fixture(Ack::Memory);
    let reader = fixture.reader(&["a"], Backlog::default());
    let keyed = |n, key| fixture.keyed(n, key);
    fixture.bus.publish([keyed(0, "x")]).unwrap().await.unwrap();
    fixture.bus.publish([keyed(0, "x")]).unwrap().await.unwrap();
    let other = fixture.bus.publish(vec![keyed(1, "z"), keyed(1, "x")]);
    assert_eq!(other.unwrap_err(), Refused::KeyReused);
    fixture.bus.publish(vec![keyed(2, "y"), keyed(2, "y")]).unwrap().await.unwrap();
    let batch = reader.next_batch(&limits(10, Duration::ZERO)).await.unwrap();
    assert_eq!(numbers(&batch), [0, 2]);
    assert_eq!(fixture.bus.counts().repeated.get(), 2);
}

#[tokio::test]
async fn delivered_is_said_of_a_message_sent_again_when_the_first_is() {
    let fixture = fixture(Ack::Delivered);
    let critical = fixture.reader_with(&["a"], ReceiverOptions::critical);
    let other = fixture.reader_with(&["a"], |options| options);
    let send = |n, key| fixture.bus.publish([fixture.keyed(n, key)]).unwrap();
    let _first = (send(0, "good"), send(1, "bad"));
    let limits = limits(10, Duration::ZERO);
    let batch = critical.next_batch(&limits).await.unwrap();
    let mut again = (send(0, "good"), send(1, "bad"));
    assert!((&mut again.0).now_or_never().is_none());
    critical.confirm(vec![batch[1].0]);
    assert_eq!(again.0.await, Ok(()));
    assert_eq!(again.1.await, Err(ReceiptError::NotDelivered));
    // Once it is over, it is remembered; whoever is not critical has no say.
    assert_eq!(send(0, "good").await, Ok(()));
    assert_eq!(send(1, "bad").await, Err(ReceiptError::NotDelivered));
    let batch = other.next_batch(&limits).await.unwrap();
    other.confirm(vec![batch[0].0]);
    assert_eq!(send(0, "good").await, Ok(()));
}

/// Dead letters that cannot be kept hold up the types of their receiver alone.
#[tokio::test]
async fn a_receiver_that_is_full_refuses_only_what_it_gets() {
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
        let _ = fixture.bus.publish([large()]);
    }
    fixture.bus.publish([large()]).unwrap_err();
    let _receipt = fixture.bus.publish([fixture.draft("b", 0)]).unwrap();
}

/// However often agents come and go.
#[tokio::test]
async fn without_room_only_the_last_change_of_each_agent_is_kept() {
    let fixture = fixture(Ack::Memory);
    let drafts = [fixture.draft("a", 0), fixture.draft("a", 1)];
    let full = fixture.reader(&["a"], room_for(&drafts, WhenFull::Refuse));
    let _receipt = fixture.bus.publish(drafts).unwrap();
    let change = |n: usize, active| {
        let agent = AgentId::new(format!("agent {}", n % 10)).unwrap();
        fixture.bus.publish_activity(Activity::new(agent, active, crate::Timestamp::now()));
    };
    for n in 0..10_000 {
        change(n, true);
        change(n, false);
    }
    assert_eq!(full.backlog().count, 2);
    let limits = limits(100, Duration::ZERO);
    full.next_batch(&limits).await.unwrap();
    full.confirm(Vec::new());
    let batch = full.next_batch(&limits).await.unwrap();
    let inactive = |event: &Event| matches!(event, Event::Activity(change) if !change.active);
    assert_eq!(batch.iter().filter(|(_, event)| inactive(event)).count(), 10);
    assert_eq!(batch.len(), 10);
}

#[tokio::test]
async fn a_data_type_of_another_host_is_refused() {
    let fixture = fixture(Ack::Memory);
    let _reader = fixture.reader(&["a"], Backlog::default());
    let other = DataTypes::new(["b", "a"]).unwrap();
    let mut draft = fixture.draft("a", 0);
    draft.data_type = other.get("a").unwrap().clone();
    assert_eq!(fixture.bus.publish([draft]).unwrap_err(), Refused::ForeignDataType("a".into()));
}

#[tokio::test]
async fn who_waits_too_long_is_refused_or_skipped() {
    let fixture = fixture(Ack::Memory);
    let old = |when_full| Backlog {
        max_age: Some(Duration::from_nanos(1).into()),
        when_full,
        ..Backlog::default()
    };
    let skipping = fixture.reader(&["a"], old(WhenFull::Skip));
    let _first = fixture.bus.publish([fixture.draft("a", 0)]).unwrap();
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
    // The receiver is stuck: what gives way does so without its reading.
    assert!(skipping.next_letters().now_or_never().is_none());
    assert_eq!(fixture.skipped.get(), 1);
    assert_eq!(skipping.backlog().count, 0);

    let _refusing = fixture.reader(&["a"], old(WhenFull::Refuse));
    let _second = fixture.bus.publish([fixture.draft("a", 1)]).unwrap();
    while begin.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    let refused = fixture.bus.publish([fixture.draft("a", 2)]).unwrap_err();
    assert!(matches!(refused, Refused::BacklogFull { .. }));
}
