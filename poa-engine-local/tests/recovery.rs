//! The state that a host finds when it starts on the log of an earlier one.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use poa_core::status::DeliveryStatus;
use poa_core::{
    Ack, AgentId, BuildContext, DeliveryError, Draft, Host, Message, Payload, Receiver,
    ReceiverFactory, ReceiverOptions, async_trait,
};
use poa_engine_local::{Log, LogConfig};
use tokio::sync::mpsc;

#[derive(serde::Serialize, serde::Deserialize)]
struct Numbered {
    n: u64,
}

/// Forwards the numbers it receives, or hangs.
struct Passes(Option<mpsc::UnboundedSender<u64>>);

#[async_trait]
impl Receiver for Passes {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        let Some(numbers) = &self.0 else { return std::future::pending().await };
        for message in batch {
            let Numbered { n } = message.payload().read().map_err(DeliveryError::permanent)?;
            numbers.send(n).map_err(DeliveryError::transient)?;
        }
        Ok(())
    }
}

fn passes(numbers: Option<mpsc::UnboundedSender<u64>>) -> ReceiverFactory {
    Arc::new(move |_: &BuildContext| {
        let receiver = Passes(numbers.clone());
        Box::pin(async { Ok(Box::new(receiver) as Box<dyn Receiver>) })
    })
}

async fn start(dir: &Path, metrics: &[&str], receiver: ReceiverFactory) -> Host {
    let options = ReceiverOptions::subscribe(metrics.iter().copied()).batch(10, Duration::ZERO);
    Host::builder()
        .data_types(metrics.iter().copied())
        .data_dir(dir)
        .engine::<Log>("log", LogConfig::default())
        .ack(Ack::Stored)
        .stop_timeouts(Duration::from_secs(1), Duration::from_millis(50))
        .receiver_from("r", options, receiver)
        .start()
        .await
        .unwrap()
}

async fn send(host: &Host, data_type: &str, numbers: std::ops::Range<u64>) {
    let handle = host.handle();
    let data_type = handle.data_types().get(data_type).unwrap().clone();
    for n in numbers {
        let payload = Payload::json(&Numbered { n }).unwrap();
        let draft = Draft::new(AgentId::new("agent").unwrap(), data_type.clone(), payload);
        handle.send_to_receivers(draft).unwrap().await.unwrap();
    }
}

/// Starts a host that delivers, and stops it once it has delivered this many; returns them and the counters.
async fn delivered(dir: &Path, metrics: &[&str], count: usize) -> (Vec<u64>, Host) {
    let (sender, mut numbers) = mpsc::unbounded_channel();
    let host = start(dir, metrics, passes(Some(sender))).await;
    let mut got = Vec::new();
    while got.len() < count {
        got.push(numbers.recv().await.unwrap());
    }
    // Later receivers work.
    tokio::spawn(async move { while numbers.recv().await.is_some() {} });
    (got, host)
}

fn status(host: &Host) -> DeliveryStatus {
    host.handle().status().plugins[0].delivery.unwrap()
}

fn metric(host: &Host, name: &str) -> u64 {
    let text = host.handle().metrics();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn segment(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_is_not_a_crash_however_often_it_cuts_off_a_delivery() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let host = start(dir.path(), &["a"], passes(None)).await;
        if round == 0 {
            send(&host, "a", 0..5).await;
        }
        let report = host.stop().await;
        assert_eq!(report.abandoned, ["receivers.r"]);
        assert_eq!(report.undelivered, [("r".to_owned(), 5)]);
    }
    let (got, host) = delivered(dir.path(), &["a"], 5).await;
    assert_eq!(got, [0, 1, 2, 3, 4]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cursors_receivers_start_with_the_oldest_message() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path(), &["a"], passes(None)).await;
    send(&host, "a", 0..5).await;
    host.stop().await;
    fs::remove_file(dir.path().join("log/cursors.json")).unwrap();
    let (got, host) = delivered(dir.path(), &["a"], 5).await;
    assert_eq!(got, [0, 1, 2, 3, 4]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_type_that_is_no_longer_declared_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path(), &["a", "gone"], passes(None)).await;
    send(&host, "a", 0..2).await;
    send(&host, "gone", 2..5).await;
    send(&host, "a", 5..6).await;
    host.stop().await;
    let (got, host) = delivered(dir.path(), &["a"], 3).await;
    assert_eq!(got, [0, 1, 5]);
    assert_eq!(metric(&host, "poa_receiver_undeclared_messages_total"), 3);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_byte_costs_one_message_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path(), &["a"], passes(None)).await;
    send(&host, "a", 0..5).await;
    host.stop().await;
    let (path, bytes) = (segment(dir.path()), fs::read(segment(dir.path())).unwrap());
    let at = bytes.windows(7).position(|part| part == br#"{"n":2}"#).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"?", at as u64).unwrap();

    let (got, host) = delivered(dir.path(), &["a"], 4).await;
    assert_eq!(got, [0, 1, 3, 4]);
    assert!(metric(&host, "poa_receiver_damaged_log_bytes_total") > 7);
    send(&host, "a", 5..6).await;
    let report = host.stop().await;
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_that_cannot_be_written_do_not_block_delivery() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path(), &["a"], passes(None)).await;
    send(&host, "a", 0..5).await;
    host.stop().await;
    // As a full disk would, but only for this file.
    let spare = dir.path().join("log/cursors.tmp");
    let _ = fs::remove_file(&spare);
    fs::create_dir(&spare).unwrap();
    let (got, host) = delivered(dir.path(), &["a"], 5).await;
    assert_eq!(got, [0, 1, 2, 3, 4]);
    fs::remove_dir(&spare).unwrap();
    assert!(host.stop().await.is_clean());
    let (got, host) = delivered(dir.path(), &["a"], 0).await;
    assert_eq!((got.len(), status(&host).backlog_messages), (0, 0), "written in the end");
    assert!(host.stop().await.is_clean());
}
