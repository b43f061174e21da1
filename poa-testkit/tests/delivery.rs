//! The guarantees of a host as its users see them: a failing receiver affects neither the others nor the sender, and no
//! message is lost silently.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use poa_core::status::{DeliveryStatus, Phase};
use poa_core::{
    Ack, Activity, AgentId, BoxError, DeadLetter, DeadLetters, DeliveryError, Draft, HostBuilder,
    Message, Receipt, ReceiptError, Receiver, ReceiverContext, ReceiverFactory, Refused, WhenFull,
    async_trait,
};
use poa_testkit::{Fault, Faults, Record, Recording, RecordingReceiver, Step, TestHost};
use serde_json::json;
use tokio::time::Instant;

const SYSTEM: &str = "system_metrics";

/// A message of agent `a` with a number.
fn numbered(host: &TestHost, n: u64) -> Draft {
    host.draft("a", SYSTEM, &json!({ "n": n }))
}

fn number(message: &Message) -> u64 {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: u64,
    }
    message.payload().read::<Numbered>().unwrap().n
}

fn numbers(record: &Record) -> Vec<u64> {
    record.messages().map(number).collect()
}

fn send(host: &TestHost, n: u64) -> Receipt {
    host.handle().send_to_receivers(numbered(host, n)).unwrap()
}

/// A host with a receiver `bad` that has these faults, and a healthy one beside it.
async fn pair(
    faults: &Faults,
    describe: impl FnOnce(HostBuilder) -> HostBuilder,
) -> (TestHost, Recording, Recording) {
    let (bad, healthy) = (Recording::new(), Recording::new());
    let options = TestHost::options().batch(4, Duration::ZERO).timeout(Duration::from_secs(1));
    let host = TestHost::start(|host| {
        describe(host)
            .receiver_from("bad", options.clone(), faults.around(bad.factory()))
            .receiver_from("healthy", options, healthy.factory())
    });
    (host.await, bad, healthy)
}

fn delivery(host: &TestHost, receiver: &str) -> DeliveryStatus {
    host.status(receiver).delivery.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_panics_every_third_batch_loses_nothing() {
    let faults = Faults::every(3, Fault::Panic);
    let (host, bad, healthy) = pair(&faults, |host| host.ack(Ack::Memory)).await;
    for n in 0..60 {
        send(&host, n).await.unwrap();
    }
    let begin = Instant::now();
    healthy.messages(60).await;
    assert_eq!(begin.elapsed(), Duration::ZERO, "the healthy receiver waited for the bad one");

    let record = bad.until(|record| record.messages().count() == 60).await;
    assert_eq!(numbers(&record), Vec::from_iter(0..60));
    let status = host.status("bad");
    assert!(status.restarts >= 5 && record.built == status.restarts + 1, "{status:?}");
    assert_eq!(status.last_error.as_deref(), Some("panicked: injected"));
    assert_eq!(host.status("healthy").restarts, 0);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_delays_no_other_and_its_stop_is_limited() {
    let faults = Faults::new(|_, step| match step {
        Step::Batch(_) | Step::Terminate => Some(Fault::Hang),
        _ => None,
    });
    let (host, _, healthy) = pair(&faults, |host| host.ack(Ack::Memory)).await;
    let begin = Instant::now();
    for n in 0..20 {
        send(&host, n).await.unwrap();
    }
    healthy.messages(20).await;
    assert_eq!(begin.elapsed(), Duration::ZERO);

    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while host.status("bad").restarts == 0 {
        tick.tick().await;
    }
    let status = host.status("bad");
    assert!(status.last_error.unwrap().starts_with("no answer within 1s"));
    assert_eq!(delivery(&host, "bad").backlog_messages, 20);
    assert_eq!(host.status("healthy").phase, Phase::Running);

    let begin = Instant::now();
    let report = host.stop().await;
    assert!(begin.elapsed() <= Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(report.abandoned, ["receivers.bad"]);
    assert_eq!(report.undelivered, [("bad".to_owned(), 20)]);
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried_until_they_succeed() {
    let faults = Faults::first(5, Fault::Transient);
    let (host, bad, healthy) = pair(&faults, |host| host).await;
    let receipts: Vec<_> = (0..10).map(|n| send(&host, n)).collect();
    healthy.messages(10).await;
    assert_eq!(bad.record().messages().count(), 0);
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(numbers(&bad.record()), Vec::from_iter(0..10));
    let (status, counts) = (host.status("bad"), delivery(&host, "bad"));
    assert_eq!((counts.retried, counts.delivered, counts.dead_lettered), (5, 10, 0));
    assert_eq!((status.phase, status.restarts), (Phase::Running, 0));
    assert_eq!(status.last_error.as_deref(), Some("injected"));
    assert!(host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn work_done_before_a_fault_is_repeated() {
    for fault in [Fault::Unconfirmed, Fault::Panic.after(), Fault::Hang.after()] {
        let faults = Faults::first(1, fault.clone());
        let (host, bad, _) = pair(&faults, |host| host).await;
        send(&host, 1).await.unwrap();
        assert_eq!(numbers(&bad.record()), [1, 1], "{fault:?}");
        assert!(host.stop().await.is_clean());
    }
}

/// Number 6 is the poison message, in one way or another; only it is dead-lettered, and only its sender gets an error.
async fn poison(fault: Fault) {
    let faults = Faults::poison(|message| number(message) == 6, fault.clone());
    let (host, bad, healthy) = pair(&faults, |host| host).await;
    let receipts: Vec<_> = (0..12).map(|n| send(&host, n)).collect();
    for (n, receipt) in receipts.into_iter().enumerate() {
        let expected = if n == 6 { Err(ReceiptError::NotDelivered) } else { Ok(()) };
        assert_eq!(receipt.await, expected, "{fault:?}, message {n}");
    }
    assert_eq!(numbers(&bad.record()), Vec::from_iter((0..12).filter(|n| *n != 6)), "{fault:?}");
    assert_eq!(healthy.record().messages().count(), 12);
    let counts = delivery(&host, "bad");
    assert_eq!((counts.delivered, counts.dead_lettered), (11, 1), "{fault:?}");
    assert!(host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn poison_messages_are_isolated() {
    poison(Fault::Permanent).await;
    poison(Fault::Panic).await;
    poison(Fault::PermanentFor(vec![usize::MAX])).await;
}

/// A receiver that confirms the first batch and then hangs for ten seconds, with a backlog of a few messages.
async fn slow(
    when_full: WhenFull,
    ack: Ack,
    letters: Option<Arc<Letters>>,
) -> (TestHost, Recording) {
    let recording = Recording::new();
    let faults = Faults::first(1, Fault::Slow(Duration::from_secs(10)));
    let host = TestHost::start(|host| {
        let options = TestHost::options().batch(1, Duration::ZERO).backlog(1500, when_full);
        let host = match letters {
            Some(letters) => host.dead_letters(letters),
            None => host,
        };
        host.ack(ack).receiver_from("slow", options, faults.around(recording.factory()))
    });
    let host = host.await;
    let first = send(&host, 0);
    while faults.batches_tried() == 0 {
        tokio::task::yield_now().await;
    }
    drop(first);
    (host, recording)
}

#[tokio::test(start_paused = true)]
async fn a_full_backlog_refuses_and_accepted_messages_are_delivered() {
    let (host, recording) = slow(WhenFull::Refuse, Ack::Memory, None).await;
    let results: Vec<_> =
        (1..50).map(|n| host.handle().send_to_receivers(numbered(&host, n)).map(drop)).collect();
    let taken = results.iter().take_while(|result| result.is_ok()).count();
    let refused = Refused::BacklogFull { receiver: "slow".into() };
    assert!(taken > 0 && taken < 49, "{taken}");
    let is_refused = |result: &Result<(), poa_core::SendError>| {
        result.as_ref().is_err_and(|error| *error == refused)
    };
    assert!(results[taken..].iter().all(is_refused), "{results:?}");

    recording.messages(taken + 1).await;
    host.handle().send_to_receivers(numbered(&host, 99)).unwrap().await.unwrap();
    let record = recording.until(|record| record.messages().count() == taken + 2).await;
    assert_eq!(numbers(&record), Vec::from_iter((0..=taken as u64).chain([99])));
    assert!(host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn skipped_messages_are_counted_and_their_receipts_fail() {
    let (host, recording) = slow(WhenFull::Skip, Ack::Delivered, None).await;
    let receipts: Vec<_> = (1..50).map(|n| (n, send(&host, n))).collect();
    let mut told = Vec::new();
    for (n, receipt) in receipts {
        match receipt.await {
            Ok(()) => told.push(n),
            Err(error) => assert_eq!(error, ReceiptError::NotDelivered),
        }
    }
    let delivered: Vec<_> = numbers(&recording.record()).into_iter().filter(|n| *n > 0).collect();
    assert_eq!(told, delivered, "acknowledged as delivered, and delivered");
    assert!(delivered.contains(&49) && !delivered.contains(&1), "{delivered:?}");
    let counts = delivery(&host, "slow");
    assert_eq!(counts.skipped, 49 - delivered.len() as u64);
    assert_eq!(counts.delivered, 1 + delivered.len() as u64);
    assert!(host.stop().await.is_clean());
}

/// Keeps dead letters, after a while.
#[derive(Default)]
struct Letters(std::sync::Mutex<Vec<u64>>);

#[poa_core::async_trait]
impl DeadLetters for Letters {
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.0.lock().unwrap().extend(letters.iter().map(|letter| number(&letter.message)));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn messages_shed_from_memory_become_dead_letters_before_their_receipts_fail() {
    let letters = Arc::new(Letters::default());
    let (host, recording) = slow(WhenFull::DeadLetter, Ack::Delivered, Some(letters.clone())).await;
    let receipts: Vec<_> = (1..50).map(|n| (n, send(&host, n))).collect();
    let mut lost = Vec::new();
    for (n, receipt) in receipts {
        if receipt.await.is_err() {
            lost.push(n);
        }
    }
    assert!(!lost.is_empty());
    assert_eq!(*letters.0.lock().unwrap(), lost);
    assert_eq!(recording.record().messages().count(), 50 - lost.len());
    let counts = delivery(&host, "slow");
    assert_eq!((counts.skipped, counts.dead_lettered), (0, lost.len() as u64));
    assert!(host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn delivered_means_that_every_receiver_has_confirmed() {
    let faults = Faults::first(1, Fault::Slow(Duration::from_millis(500)));
    let (host, bad, healthy) = pair(&faults, |host| host).await;
    let begin = Instant::now();
    host.deliver(numbered(&host, 1)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(500));
    assert_eq!((numbers(&bad.record()), numbers(&healthy.record())), (vec![1], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_for_several_types_does_not_need_later_messages() {
    let (system, network) = (Recording::new(), Recording::new());
    let host = TestHost::start(|host| {
        let only = |data_type| poa_core::ReceiverOptions::subscribe([data_type]);
        host.receiver_from("system", only(SYSTEM), system.factory()).receiver_from(
            "network",
            only("networking_metrics"),
            network.factory(),
        )
    });
    let host = host.await;
    let both = vec![numbered(&host, 1), host.draft("a", "networking_metrics", &json!({"n": 2}))];
    let context = host.handle().context("test");
    let receipt = context.send_all_to_receivers(both).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), receipt).await;
    assert_eq!(answer, Ok(Ok(())));
    assert_eq!((numbers(&system.record()), numbers(&network.record())), (vec![1], vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_for_several_batches_fails_if_the_first_was_dead_lettered() {
    let faults = Faults::poison(|message| number(message) == 1, Fault::Permanent);
    let (host, bad, _) = pair(&faults, |host| host).await;
    let many = (0..10).map(|n| numbered(&host, n)).collect();
    let receipt = host.handle().context("test").send_all_to_receivers(many).unwrap();
    assert_eq!(receipt.await, Err(ReceiptError::NotDelivered));
    assert_eq!(bad.record().messages().count(), 9);
}

#[tokio::test(start_paused = true)]
async fn delivered_waits_for_a_critical_receiver_however_fast_the_others_are() {
    let (critical, quick) = (Recording::new(), Recording::new());
    let faults = Faults::first(1, Fault::Slow(Duration::from_millis(500)));
    let host = TestHost::start(|host| {
        host.receiver_from("quick", TestHost::options(), quick.factory()).receiver_from(
            "critical",
            TestHost::options().critical(),
            faults.around(critical.factory()),
        )
    });
    let host = host.await;
    host.deliver(numbered(&host, 1)).await.unwrap();
    assert_eq!(numbers(&critical.record()), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_every_receipt() {
    let faults = Faults::every(1, Fault::Hang);
    let (host, ..) = pair(&faults, |host| host).await;
    let (handle, receipt) = (host.handle(), send(&host, 1));
    host.stop().await;
    let answer = tokio::time::timeout(Duration::from_secs(60), receipt).await;
    assert_eq!(answer, Ok(Err(ReceiptError::Stopped)));
    assert!(!handle.is_ready());
}

/// Panics in each method on the first call, before there is a future, where a careless supervisor would not catch it.
struct Eager {
    receiver: RecordingReceiver,
    calls: Arc<[AtomicBool; 3]>,
}

fn first_time(called: &AtomicBool, what: &str) {
    assert!(called.swap(true, Ordering::SeqCst), "{what}");
}

impl Receiver for Eager {
    fn metrics_received<'a, 'b, 'c>(
        &'a mut self,
        batch: &'b [Message],
    ) -> Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
    {
        first_time(&self.calls[0], "metrics_received");
        self.receiver.metrics_received(batch)
    }

    fn handle_active<'a, 'b, 'c>(
        &'a mut self,
        agents: &'b [Activity],
    ) -> Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
    {
        first_time(&self.calls[1], "handle_active");
        self.receiver.handle_active(agents)
    }

    fn endpoints(&self) -> Vec<String> {
        first_time(&self.calls[2], "endpoints");
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_outside_of_any_future_is_caught_as_well() {
    let recording = Recording::new();
    let calls: Arc<[AtomicBool; 3]> = Arc::default();
    let (seen, built) = (recording.clone(), AtomicU64::new(0));
    let factory: ReceiverFactory = Arc::new(move |_| {
        assert_ne!(built.fetch_add(1, Ordering::SeqCst), 1, "the second build");
        let (receiver, calls) = (seen.receiver(), calls.clone());
        Box::pin(async { Ok(Box::new(Eager { receiver, calls }) as Box<dyn Receiver>) })
    });
    let host = TestHost::with_receiver(factory).await;
    host.handle().context("test").activity().ping(&AgentId::new("a").unwrap());
    host.deliver(numbered(&host, 1)).await.unwrap();
    let record = recording.record();
    assert_eq!(numbers(&record), [1]);
    // Reported again after each rebuild.
    assert!(record.activity.len() > 1 && record.activity.iter().all(|change| change.active));
    assert!(host.stop().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn every_change_of_activity_arrives_in_order_whatever_happens() {
    let faults = Faults::new(|count, step| match (step, count) {
        (Step::Activity(_), 1) => Some(Fault::Transient),
        (Step::Activity(_), 2) => Some(Fault::Panic),
        (Step::Activity(_), 3) => Some(Fault::Hang),
        _ => None,
    });
    let (host, bad, healthy) = pair(&faults, |host| host).await;
    let context = host.handle().context("test");
    let agent = AgentId::new("a").unwrap();
    context.activity().ping(&agent);
    host.publish_inactive("a");
    host.publish_inactive("a");
    context.activity().ping(&agent);
    host.deliver(numbered(&host, 1)).await.unwrap();
    for recording in [bad, healthy] {
        let record = recording.record();
        let mut states: Vec<_> = record.activity.iter().map(|change| change.active).collect();
        // A rebuilt instance is told again which agents are active.
        states.dedup();
        assert_eq!(states, [true, false, true]);
    }
}

/// A receiver whose last call waits for the task that it has started.
struct Background(Option<tokio::task::JoinHandle<()>>);

#[async_trait]
impl Receiver for Background {
    async fn start(&mut self, cx: ReceiverContext) -> Result<(), DeliveryError> {
        self.0 = Some(tokio::spawn(async move { cx.shutdown().cancelled().await }));
        Ok(())
    }

    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }

    async fn terminate(&mut self) {
        self.0.take().unwrap().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_of_a_receiver_comes_before_its_last_call() {
    let factory: ReceiverFactory =
        Arc::new(|_| Box::pin(async { Ok(Box::new(Background(None)) as Box<dyn Receiver>) }));
    let host = TestHost::with_receiver(factory).await;
    host.deliver(numbered(&host, 1)).await.unwrap();
    let begin = Instant::now();
    assert!(host.stop().await.is_clean());
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
