//! The bus on a log: what is acknowledged survives, and whoever is behind reads from the disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poa_core::{
    Ack, Activity, AgentId, BoxError, BuildContext, DeadLetter, DeadLetters, DeliveryError, Draft,
    Engine, Format, Host, HostHandle, IdempotencyKey, Message, Payload, Receiver, ReceiverFactory,
    ReceiverOptions, StartError, WhenFull, async_trait,
};
use tokio::sync::{Semaphore, mpsc};

/// Passes on the numbers it receives, one batch for each permit.
struct Gated {
    permits: Arc<Semaphore>,
    numbers: mpsc::UnboundedSender<u64>,
}

#[async_trait]
impl Receiver for Gated {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        self.permits.acquire().await.unwrap().forget();
        for message in batch {
            self.numbers.send(number(message)).map_err(DeliveryError::transient)?;
        }
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Numbered {
    n: u64,
    padding: String,
}

fn number(message: &Message) -> u64 {
    message.payload().read::<Numbered>().unwrap().n
}

fn draft(host: &HostHandle, n: u64, padding: usize) -> Draft {
    let data_type = host.data_types().get("a").unwrap().clone();
    let payload = Payload::json(&Numbered { n, padding: "x".repeat(padding) }).unwrap();
    assert_eq!(payload.format(), Format::Json);
    Draft::new(AgentId::new("agent").unwrap(), data_type, payload)
}

struct Gate {
    permits: Arc<Semaphore>,
    got: mpsc::UnboundedReceiver<u64>,
    factory: ReceiverFactory,
}

fn gate(permits: usize) -> Gate {
    let permits = Arc::new(Semaphore::new(permits));
    let (numbers, got) = mpsc::unbounded_channel();
    let make = permits.clone();
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let gated = Gated { permits: make.clone(), numbers: numbers.clone() };
        Box::pin(async { Ok(Box::new(gated) as Box<dyn Receiver>) })
    });
    Gate { permits, got, factory }
}

const OPEN: usize = Semaphore::MAX_PERMITS / 2;

async fn start(dir: &Path, ack: Ack, receivers: &[(&str, &Gate)]) -> Host {
    let mut builder = Host::builder()
        .metrics(["a"])
        .data_dir(dir)
        .engine(Engine::Log)
        .ack(ack)
        .stop_timeouts(Duration::from_secs(1), Duration::from_millis(300));
    for (name, gate) in receivers {
        let options = ReceiverOptions::subscribe(["a"]).batch(7, Duration::ZERO);
        builder = builder.receiver_from(name, options, gate.factory.clone());
    }
    builder.start().await.unwrap()
}

async fn take(gate: &mut Gate, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(gate.got.recv().await.unwrap());
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_delivered_after_a_restart_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut open, stuck) = (gate(OPEN), gate(0));
    let host = start(dir.path(), Ack::Stored, &[("open", &open), ("stuck", &stuck)]).await;
    for n in 0..50 {
        host.handle().send_to_receivers(draft(&host.handle(), n, 0)).unwrap().await.unwrap();
    }
    assert_eq!(take(&mut open, 50).await, (0..50).collect::<Vec<_>>());
    let report = host.stop().await;
    assert_eq!(report.abandoned, ["receivers.stuck"]);
    assert_eq!(report.undelivered, [("stuck".to_owned(), 50)]);

    let (mut open, mut released) = (gate(OPEN), gate(OPEN));
    let host = start(dir.path(), Ack::Stored, &[("open", &open), ("stuck", &released)]).await;
    host.handle().send_to_receivers(draft(&host.handle(), 50, 0)).unwrap().await.unwrap();
    assert_eq!(take(&mut released, 51).await, (0..51).collect::<Vec<_>>());
    assert_eq!(take(&mut open, 1).await, [50]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_behind_reads_from_the_disk_in_order_and_memory_stays_bounded() {
    const COUNT: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let (mut open, mut late) = (gate(OPEN), gate(0));
    let host = start(dir.path(), Ack::Memory, &[("open", &open), ("late", &late)]).await;
    let handle = host.handle();
    // 30 MB: several times what a reader keeps in memory.
    for n in 0..COUNT {
        handle.send_to_receivers(draft(&handle, n, 10_000)).unwrap().await.unwrap();
    }
    assert_eq!(take(&mut open, COUNT).await, (0..COUNT).collect::<Vec<_>>());
    late.permits.add_permits(OPEN);
    assert_eq!(take(&mut late, COUNT).await, (0..COUNT).collect::<Vec<_>>());
    // It has caught up, so what comes now comes from memory, behind everything else.
    handle.send_to_receivers(draft(&handle, COUNT, 0)).unwrap().await.unwrap();
    assert_eq!(take(&mut late, 1).await, [COUNT]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_publishers_all_get_their_receipts() {
    const COUNT: u64 = 2000;
    for ack in [Ack::Memory, Ack::Stored, Ack::Delivered] {
        let dir = tempfile::tempdir().unwrap();
        let mut open = gate(OPEN);
        let host = start(dir.path(), ack, &[("open", &open)]).await;
        let publishers: Vec<_> = (0..COUNT)
            .map(|n| {
                let handle = host.handle();
                tokio::spawn(async move {
                    handle.send_to_receivers(draft(&handle, n, 10)).unwrap().await
                })
            })
            .collect();
        for publisher in publishers {
            publisher.await.unwrap().unwrap();
        }
        let mut numbers = take(&mut open, COUNT).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
        assert!(host.stop().await.is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_means_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let mut stuck = gate(0);
    let host = start(dir.path(), Ack::Delivered, &[("stuck", &stuck)]).await;
    let receipt = host.handle().send_to_receivers(draft(&host.handle(), 1, 0)).unwrap();
    let mut receipt = tokio::spawn(receipt);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut receipt).await.is_err());
    stuck.permits.add_permits(1);
    receipt.await.unwrap().unwrap();
    assert_eq!(take(&mut stuck, 1).await, [1]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_dropped_keeps_what_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = gate(0);
    let host = start(dir.path(), Ack::Stored, &[("r", &stuck)]).await;
    host.handle().send_to_receivers(draft(&host.handle(), 7, 0)).unwrap().await.unwrap();
    drop(host);
    let mut open = gate(OPEN);
    // The dropped host's thread gives the log back in its own time.
    let host = loop {
        let builder = Host::builder().metrics(["a"]).data_dir(dir.path()).engine(Engine::Log);
        let options = ReceiverOptions::subscribe(["a"]);
        match builder.receiver_from("r", options, open.factory.clone()).start().await {
            Ok(host) => break host,
            Err(StartError::Log(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(take(&mut open, 1).await, [7]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_in_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = gate(OPEN);
    let host = start(dir.path(), Ack::Stored, &[("r", &open)]).await;
    let second = Host::builder().metrics(["a"]).data_dir(dir.path()).engine(Engine::Log);
    let StartError::Log(error) = second.start().await.unwrap_err() else { panic!("started") };
    assert!(error.to_string().contains("is another server running"), "{error}");
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_is_stored_once_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut numbers = Vec::new();
    for round in 0..3 {
        let mut open = gate(OPEN);
        let host = start(dir.path(), Ack::Stored, &[("r", &open)]).await;
        let handle = host.handle();
        let keyed = |n, key: &str| {
            let agent = AgentId::new("agent").unwrap();
            draft(&handle, n, 0).with_idempotency_key(IdempotencyKey::new(&agent, key).unwrap())
        };
        // The same key from many at once, and again in every round.
        let sent: Vec<_> = (0..20)
            .map(|n| tokio::spawn(handle.send_to_receivers(keyed(n, "same")).unwrap()))
            .collect();
        for receipt in sent {
            receipt.await.unwrap().unwrap();
        }
        let own = handle.send_to_receivers(keyed(100 + round, &format!("round {round}")));
        own.unwrap().await.unwrap();
        assert!(host.stop().await.is_clean());
        while let Ok(number) = open.got.try_recv() {
            numbers.push(number);
        }
    }
    assert_eq!(numbers, [0, 100, 101, 102]);
}

/// Passes on who became inactive.
struct Silences(mpsc::UnboundedSender<Activity>);

#[async_trait]
impl Receiver for Silences {
    async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
        Ok(())
    }

    async fn handle_inactive(&mut self, agents: &[Activity]) -> Result<(), DeliveryError> {
        agents
            .iter()
            .try_for_each(|change| self.0.send(change.clone()))
            .map_err(DeliveryError::transient)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_come_back_after_a_restart_becomes_inactive() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |inactive_after| {
        let (sender, silences) = mpsc::unbounded_channel();
        let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
            let receiver = Silences(sender.clone());
            Box::pin(async { Ok(Box::new(receiver) as Box<dyn Receiver>) })
        });
        let host = Host::builder()
            .metrics(["a"])
            .data_dir(dir.path())
            .engine(Engine::Log)
            .inactive_after(inactive_after)
            .receiver_from("silences", ReceiverOptions::subscribe(["a"]), factory);
        (host.start().await.unwrap(), silences)
    };
    let (host, _silences) = start(Duration::from_secs(3600)).await;
    host.handle().context("test").activity().ping(&AgentId::new("gone").unwrap());
    assert!(host.stop().await.is_clean());
    let (host, mut silences) = start(Duration::from_millis(100)).await;
    let change = silences.recv().await.unwrap();
    assert_eq!((change.agent_id.as_str(), change.active), ("gone", false));
    assert!(host.stop().await.is_clean());
}

/// Keeps dead letters in memory, once it is allowed to.
#[derive(Default)]
struct Letters {
    kept: Mutex<Vec<DeadLetter>>,
    permits: Option<Semaphore>,
}

#[async_trait]
impl DeadLetters for Letters {
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        if let Some(permits) = &self.permits {
            permits.acquire_many(u32::try_from(letters.len())?).await?.forget();
        }
        self.kept.lock().unwrap().extend(letters);
        Ok(())
    }
}

const MEBI: u64 = 1 << 20;

/// A host whose only receiver `stuck` may be so far behind.
async fn start_bounded(
    dir: &Path,
    gate: &Gate,
    when_full: WhenFull,
    bytes: u64,
    letters: Arc<Letters>,
) -> Host {
    let options = ReceiverOptions::subscribe(["a"]).batch(7, Duration::ZERO);
    let builder = Host::builder()
        .metrics(["a"])
        .data_dir(dir)
        .engine(Engine::Log)
        .ack(Ack::Stored)
        .stop_timeouts(Duration::from_secs(1), Duration::from_millis(300))
        .dead_letters(letters)
        .receiver_from("stuck", options.backlog(bytes, when_full), gate.factory.clone());
    builder.start().await.unwrap()
}

fn delivery(host: &HostHandle) -> poa_core::status::DeliveryStatus {
    host.status().plugins[0].delivery.unwrap()
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// More waits than memory holds, so what gives way has to be read from the disk, although the receiver is stuck.
async fn a_stuck_receiver_stays_within_its_bound(when_full: WhenFull) -> Vec<u64> {
    const COUNT: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let (mut stuck, letters) = (gate(0), Arc::new(Letters::default()));
    let host = start_bounded(dir.path(), &stuck, when_full, 12 * MEBI, letters.clone()).await;
    let handle = host.handle();
    for n in 0..COUNT {
        handle.send_to_receivers(draft(&handle, n, 100_000)).unwrap().await.unwrap();
    }
    until(|| delivery(&handle).backlog_bytes <= 12 * MEBI).await;
    stuck.permits.add_permits(OPEN);
    let mut got = vec![stuck.got.recv().await.unwrap()];
    while got.last() != Some(&(COUNT - 1)) {
        got.push(stuck.got.recv().await.unwrap());
    }
    let counts = delivery(&handle);
    let kept: Vec<_> =
        letters.kept.lock().unwrap().iter().map(|letter| number(&letter.message)).collect();
    assert_eq!(counts.dead_lettered, kept.len() as u64);
    assert_eq!(got.len() as u64 + counts.skipped + counts.dead_lettered, COUNT);
    assert!(got.len() > 100 && got.len() < 150, "{} were delivered", got.len());
    assert!(got.is_sorted() && kept.is_sorted());
    assert!(host.stop().await.is_clean());
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gives_way_is_skipped_or_kept_as_dead_letters() {
    assert!(a_stuck_receiver_stays_within_its_bound(WhenFull::Skip).await.is_empty());
    assert!(!a_stuck_receiver_stays_within_its_bound(WhenFull::DeadLetter).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_dead_letters_messages_are_refused_and_none_is_lost() {
    const COUNT: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let letters = || Arc::new(Letters { permits: Some(Semaphore::new(0)), ..Letters::default() });
    let (stuck, blocked) = (gate(0), letters());
    let host = start_bounded(dir.path(), &stuck, WhenFull::DeadLetter, MEBI, blocked).await;
    let handle = host.handle();
    let mut taken = 0;
    while let Ok(receipt) = handle.send_to_receivers(draft(&handle, taken, 100_000)) {
        receipt.await.unwrap();
        taken += 1;
        assert!(taken < COUNT, "memory is bounded");
    }
    // What was not safe with the dead letters is still in the log, and goes to the receiver or to them after a restart.
    assert!(!host.stop().await.is_clean());
    let (mut open, kept) = (gate(OPEN), Arc::new(Letters::default()));
    let restart = || start_bounded(dir.path(), &open, WhenFull::DeadLetter, MEBI, kept.clone());
    let host = restart().await;
    host.handle().send_to_receivers(draft(&host.handle(), taken, 0)).unwrap().await.unwrap();
    let mut numbers = Vec::new();
    while numbers.last() != Some(&taken) {
        numbers.push(open.got.recv().await.unwrap());
    }
    let missing = taken as usize + 1 - numbers.len();
    until(|| kept.kept.lock().unwrap().len() == missing).await;
    numbers.extend(kept.kept.lock().unwrap().iter().map(|letter| number(&letter.message)));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..=taken).collect::<Vec<_>>());
    assert!(host.stop().await.is_clean());
}
