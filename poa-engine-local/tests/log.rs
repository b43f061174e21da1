//! The bus on a log: acknowledged messages survive, and a receiver that is behind reads from the
//! disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poa_core::{
    Ack, Activity, AgentId, BuildContext, DeliveryError, Draft, Host, HostHandle, IdempotencyKey,
    Message, ReceiptError, Receiver, ReceiverFactory, ReceiverOptions, Refused, StartError,
    async_trait,
};
use poa_engine_local::{Log, LogConfig};
use tokio::sync::mpsc;

use support::*;

async fn start(dir: &Path, ack: Ack, receivers: &[(&str, &Gate)]) -> Host {
    let mut builder = builder(dir).ack(ack);
    for (name, gate) in receivers {
        let options = ReceiverOptions::subscribe(["a"]).batch(7, Duration::ZERO);
        builder = builder.receiver_from(name, options, gate.factory.clone());
    }
    builder.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_messages_are_delivered_after_a_restart_and_none_twice() {
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
async fn a_receiver_that_is_behind_reads_from_the_disk_in_order_and_memory_stays_limited() {
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
    // It has caught up, so what follows comes from memory, after everything else.
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

fn same(handle: &HostHandle) -> Draft {
    let key = IdempotencyKey::new(&AgentId::new("agent").unwrap(), "same").unwrap();
    draft(handle, 1, 0).with_idempotency_key(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_waits_for_the_same_confirmation() {
    let dir = tempfile::tempdir().unwrap();
    let mut stuck = gate(0);
    let host = start(dir.path(), Ack::Delivered, &[("stuck", &stuck)]).await;
    let handle = host.handle();
    // Some are sent before the first of them is stored, the last one long after.
    let mut waiting: Vec<_> =
        (0..10).map(|_| tokio::spawn(handle.send_to_receivers(same(&handle)).unwrap())).collect();
    until(|| delivery(&handle, "stuck").backlog_messages == 1).await;
    waiting.push(tokio::spawn(handle.send_to_receivers(same(&handle)).unwrap()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(waiting.iter().all(|receipt| !receipt.is_finished()));
    stuck.permits.add_permits(1);
    for receipt in waiting {
        receipt.await.unwrap().unwrap();
    }
    handle.send_to_receivers(same(&handle)).unwrap().await.unwrap();
    assert_eq!(take(&mut stuck, 1).await, [1]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undelivered_message_is_waited_for_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = gate(0);
    let host = start(dir.path(), Ack::Delivered, &[("stuck", &stuck)]).await;
    let first = tokio::spawn(host.handle().send_to_receivers(same(&host.handle())).unwrap());
    until(|| delivery(&host.handle(), "stuck").backlog_messages == 1).await;
    host.stop().await;
    assert_eq!(first.await.unwrap(), Err(ReceiptError::Stopped));
    let mut stuck = gate(0);
    let host = start(dir.path(), Ack::Delivered, &[("stuck", &stuck)]).await;
    let again = tokio::spawn(host.handle().send_to_receivers(same(&host.handle())).unwrap());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!again.is_finished());
    stuck.permits.add_permits(1);
    again.await.unwrap().unwrap();
    assert_eq!(take(&mut stuck, 1).await, [1]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_receiver_gets_the_messages_in_the_log_if_it_asks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = gate(0);
    let host = start(dir.path(), Ack::Stored, &[("old", &stuck)]).await;
    for n in 0..20 {
        host.handle().send_to_receivers(draft(&host.handle(), n, 0)).unwrap().await.unwrap();
    }
    host.stop().await;
    let (old, mut all, mut new) = (gate(OPEN), gate(OPEN), gate(OPEN));
    let options = || ReceiverOptions::subscribe(["a"]);
    let host = builder(dir.path())
        .ack(Ack::Stored)
        .receiver_from("old", options(), old.factory.clone())
        .receiver_from("all", options().from_start(), all.factory.clone())
        .receiver_from("new", options(), new.factory.clone())
        .start()
        .await
        .unwrap();
    host.handle().send_to_receivers(draft(&host.handle(), 20, 0)).unwrap().await.unwrap();
    assert_eq!(take(&mut all, 21).await, (0..21).collect::<Vec<_>>());
    assert_eq!(take(&mut new, 1).await, [20]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_host_keeps_stored_messages() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = gate(0);
    let host = start(dir.path(), Ack::Stored, &[("r", &stuck)]).await;
    host.handle().send_to_receivers(draft(&host.handle(), 7, 0)).unwrap().await.unwrap();
    drop(host);
    let mut open = gate(OPEN);
    // The thread of the dropped host closes the log in its own time.
    let host = loop {
        let builder = Host::builder()
            .data_types(["a"])
            .data_dir(dir.path())
            .engine::<Log>("log", LogConfig::default());
        let options = ReceiverOptions::subscribe(["a"]);
        match builder.receiver_from("r", options, open.factory.clone()).start().await {
            Ok(host) => break host,
            Err(StartError::Plugin { .. }) => tokio::task::yield_now().await,
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
    let second = Host::builder()
        .data_types(["a"])
        .data_dir(dir.path())
        .engine::<Log>("log", LogConfig::default());
    let error = second.start().await.unwrap_err();
    let text = poa_core::error_chain(&error);
    assert!(text.contains("is another server running"), "{text}");
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_again_is_stored_once_even_after_a_restart() {
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
        // The same key from many senders at once, and again in every round.
        let sent: Vec<_> = (0..20)
            .map(|_| tokio::spawn(handle.send_to_receivers(keyed(0, "same")).unwrap()))
            .collect();
        for receipt in sent {
            receipt.await.unwrap().unwrap();
        }
        let other = handle.send_to_receivers(keyed(1, "same"));
        assert_eq!(other.unwrap_err(), Refused::KeyReused);
        let own = handle.send_to_receivers(keyed(100 + round, &format!("round {round}")));
        own.unwrap().await.unwrap();
        assert!(host.stop().await.is_clean());
        while let Ok(number) = open.got.try_recv() {
            numbers.push(number);
        }
    }
    assert_eq!(numbers, [0, 100, 101, 102]);
}

/// Forwards the agents that became inactive.
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
            .data_types(["a"])
            .data_dir(dir.path())
            .engine::<Log>("log", LogConfig::default())
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
