//! The limits of a backlog: in memory, on the disk, in time.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poa_core::{Ack, Backlog, Host, ReceiptError, ReceiverOptions, Refused, WhenFull};
use poa_engine_local::{Log, LogConfig};
use tokio::sync::Semaphore;

use support::*;

/// A host whose only receiver `stuck` has this backlog.
async fn start_bounded(
    dir: &Path,
    gate: &Gate,
    when_full: WhenFull,
    bytes: u64,
    letters: Arc<Letters>,
) -> Host {
    let options = ReceiverOptions::subscribe(["a"]).batch(IN_HAND as usize, Duration::ZERO);
    let builder = builder(dir)
        .ack(Ack::Stored)
        .engine::<Log>("log", LogConfig::default().segment_bytes(MEBI))
        .dead_letters(letters)
        .receiver_from("stuck", options.backlog(bytes, when_full), gate.factory.clone());
    builder.start().await.unwrap()
}

/// The size of the log on the disk.
fn log_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("log")).unwrap();
    // A file may be removed before its size is read.
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

/// The size of a batch.
const IN_HAND: u64 = 7;

/// The backlog is larger than memory may hold, so what is shed has to be read from the disk, although the receiver is
/// stuck.
async fn a_stuck_receiver_stays_within_its_bound(when_full: WhenFull) -> Vec<u64> {
    const COUNT: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let (mut stuck, letters) = (gate(0), Arc::new(Letters::default()));
    let host = start_bounded(dir.path(), &stuck, when_full, 12 * MEBI, letters.clone()).await;
    let handle = host.handle();
    for n in 0..COUNT {
        handle.send_to_receivers(draft(&handle, n, 100_000)).unwrap().await.unwrap();
    }
    until(|| delivery(&handle, "stuck").backlog_bytes <= 12 * MEBI).await;
    // The limit holds on the disk, too: the batch in flight is shed, because everything after it was.
    until(|| log_bytes(dir.path()) <= 15 * MEBI).await;
    stuck.permits.add_permits(OPEN);
    let mut got = vec![stuck.got.recv().await.unwrap()];
    while got.last() != Some(&(COUNT - 1)) {
        got.push(stuck.got.recv().await.unwrap());
    }
    let counts = delivery(&handle, "stuck");
    let kept: Vec<_> =
        letters.kept.lock().unwrap().iter().map(|letter| number(&letter.message)).collect();
    assert_eq!(counts.dead_lettered, kept.len() as u64);
    // The batch in flight was shed, and then delivered all the same.
    let both = got.len() as u64 + counts.skipped + counts.dead_lettered - COUNT;
    assert!((1..=IN_HAND).contains(&both), "{both} were shed and delivered");
    assert!(got.len() > 100 && got.len() < 150, "{} were delivered", got.len());
    let for_good: Vec<_> = kept.iter().filter(|n| !got.contains(n)).collect();
    assert!(got.is_sorted() && for_good.is_sorted());
    assert!(host.stop().await.is_clean());
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn shed_messages_are_skipped_or_kept_as_dead_letters() {
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
        assert!(taken < COUNT, "memory is limited");
    }
    // Messages that were not stored as dead letters are still in the log, and are delivered or dead-lettered after a
    // restart.
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

/// A host with a receiver `stuck` of the rare type `b`, which may keep this much of the log.
async fn start_rare(dir: &Path, stuck: &Gate, open: &Gate, when_full: WhenFull) -> Host {
    let options = ReceiverOptions::subscribe(["b"]).backlog(64 * MEBI, when_full);
    let host = builder(dir)
        .ack(Ack::Stored)
        .engine::<Log>("log", LogConfig::default().segment_bytes(MEBI))
        .receiver_from("stuck", options.max_log(4 * MEBI), stuck.factory.clone())
        .receiver_from("open", ReceiverOptions::subscribe(["a"]), open.factory.clone());
    host.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_receiver_with_a_small_backlog_does_not_keep_the_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stuck, open) = (gate(0), gate(OPEN));
    let host = start_rare(dir.path(), &stuck, &open, WhenFull::Skip).await;
    let handle = host.handle();
    for n in 0..4 {
        handle.send_to_receivers(draft_of(&handle, "b", n, 0)).unwrap().await.unwrap();
    }
    for n in 0..200 {
        handle.send_to_receivers(draft(&handle, n, 100_000)).unwrap().await.unwrap();
    }
    until(|| log_bytes(dir.path()) <= 7 * MEBI).await;
    assert_eq!(delivery(&handle, "stuck").skipped, 4);
    handle.send_to_receivers(draft_of(&handle, "b", 4, 0)).unwrap().await.unwrap();
    stuck.permits.add_permits(OPEN);
    until(|| stuck.got.try_recv() == Ok(4)).await;
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_shedding_messages_are_refused_before_the_log_fills_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (stuck, open) = (gate(0), gate(OPEN));
    let host = start_rare(dir.path(), &stuck, &open, WhenFull::Refuse).await;
    let handle = host.handle();
    handle.send_to_receivers(draft_of(&handle, "b", 0, 0)).unwrap().await.unwrap();
    let mut taken = 0;
    let refused = loop {
        match handle.send_to_receivers(draft(&handle, taken, 100_000)) {
            Ok(receipt) => receipt.await.unwrap(),
            Err(refused) => break refused,
        }
        taken += 1;
    };
    assert_eq!(refused, Refused::BacklogFull { receiver: "stuck".into() });
    assert!((35..50).contains(&taken), "{taken} were accepted");
    stuck.permits.add_permits(OPEN);
    until(|| handle.send_to_receivers(draft(&handle, taken, 0)).is_ok()).await;
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_receiver_releases_its_space() {
    let dir = tempfile::tempdir().unwrap();
    let (stuck, open) = (gate(0), gate(OPEN));
    let start = async |names: &[(&str, &Gate)]| {
        let add = |host: poa_core::HostBuilder, (name, gate): &(&str, &Gate)| {
            host.receiver_from(name, ReceiverOptions::subscribe(["a"]), gate.factory.clone())
        };
        let host = builder(dir.path())
            .ack(Ack::Stored)
            .engine::<Log>("log", LogConfig::default().segment_bytes(MEBI));
        names.iter().fold(host, add).start().await.unwrap()
    };
    let host = start(&[("stuck", &stuck), ("open", &open)]).await;
    for n in 0..100 {
        host.handle().send_to_receivers(draft(&host.handle(), n, 100_000)).unwrap().await.unwrap();
    }
    host.stop().await;
    assert!(log_bytes(dir.path()) > 9 * MEBI);
    let host = start(&[("open", &open)]).await;
    until(|| log_bytes(dir.path()) <= 3 * MEBI).await;
    assert!(host.stop().await.is_clean());
}

fn no_older_than(age: Duration, when_full: WhenFull) -> ReceiverOptions {
    let mut options = ReceiverOptions::subscribe(["a"]).batch(IN_HAND as usize, Duration::ZERO);
    let mut backlog = Backlog::default();
    backlog.max_age = Some(age.into());
    backlog.when_full = when_full;
    options.backlog = backlog;
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_too_long_are_shed_even_on_the_disk_and_while_the_receiver_is_stuck() {
    const COUNT: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    let mut stuck = gate(0);
    let options = no_older_than(Duration::from_secs(1), WhenFull::Skip);
    let host =
        builder(dir.path()).ack(Ack::Stored).receiver_from("stuck", options, stuck.factory.clone());
    let host = host.start().await.unwrap();
    let handle = host.handle();
    handle.send_to_receivers(draft(&handle, 0, 0)).unwrap().await.unwrap();
    until(|| delivery(&handle, "stuck").backlog_messages == 1).await;
    // 15 MB: part of it is on the disk only. It contains a change of activity.
    for n in 1..=COUNT {
        if n % 50 == 1 {
            handle.context("test").activity().ping(&poa_core::AgentId::new("agent").unwrap());
        }
        handle.send_to_receivers(draft(&handle, n, 100_000)).unwrap().await.unwrap();
    }
    until(|| delivery(&handle, "stuck").skipped >= COUNT).await;
    stuck.permits.add_permits(OPEN);
    handle.send_to_receivers(draft(&handle, COUNT + 1, 0)).unwrap().await.unwrap();
    assert_eq!(stuck.got.recv().await, Some(0));
    until(|| stuck.got.try_recv() == Ok(COUNT + 1)).await;
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_age_of_a_backlog_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = gate(0);
    let start = async |age| {
        let options = no_older_than(age, WhenFull::Refuse);
        let host = builder(dir.path()).ack(Ack::Stored);
        host.receiver_from("stuck", options, stuck.factory.clone()).start().await.unwrap()
    };
    let host = start(Duration::from_secs(3600)).await;
    host.handle().send_to_receivers(draft(&host.handle(), 0, 0)).unwrap().await.unwrap();
    host.stop().await;
    let host = start(Duration::from_millis(1)).await;
    let refused = host.handle().send_to_receivers(draft(&host.handle(), 1, 0)).unwrap_err();
    assert_eq!(refused, Refused::BacklogFull { receiver: "stuck".into() });
    host.stop().await;
}

/// A host whose log starts a file for each group, so that it cannot be written once its directory is gone.
async fn start_fragile(dir: &Path, open: &Gate) -> Host {
    let host = builder(dir)
        .ack(Ack::Stored)
        .ack_for("a", Ack::Memory)
        .engine::<Log>("log", LogConfig::default().segment_bytes(1));
    let options = ReceiverOptions::subscribe(["a", "b"]);
    host.receiver_from("open", options, open.factory.clone()).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_acknowledged_from_memory_are_limited_while_the_log_cannot_be_written() {
    const SIZE: usize = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut open = gate(OPEN);
    let host = start_fragile(dir.path(), &open).await;
    let handle = host.handle();
    handle.send_to_receivers(draft_of(&handle, "b", 0, 0)).unwrap().await.unwrap();
    assert_eq!(take(&mut open, 1).await, [0]);

    let (log, away) = (dir.path().join("log"), dir.path().join("away"));
    std::fs::rename(&log, &away).unwrap();
    let stored = handle.send_to_receivers(draft_of(&handle, "b", 1, 0)).unwrap();
    assert_eq!(stored.await, Err(ReceiptError::NotStored));
    let mut taken = 1;
    let refused = loop {
        match handle.send_to_receivers(draft(&handle, taken, SIZE)) {
            Ok(receipt) => receipt.await.unwrap(),
            Err(refused) => break refused,
        }
        taken += 1;
        assert!(taken < 200, "memory is limited");
    };
    assert_eq!(refused, Refused::LogBusy);
    // It stays so, however often the queue is tried again.
    let failures = |handle: &poa_core::HostHandle| {
        let metrics = handle.metrics();
        let line = metrics.lines().find(|line| line.starts_with("poa_log_failures_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = failures(&handle);
    until(|| failures(&handle) >= before + 2).await;
    let refused = handle.send_to_receivers(draft(&handle, taken, SIZE)).unwrap_err();
    assert_eq!(refused, Refused::LogBusy);

    std::fs::rename(&away, &log).unwrap();
    assert_eq!(take(&mut open, taken - 1).await, (1..taken).collect::<Vec<_>>());
    handle.send_to_receivers(draft_of(&handle, "b", 0, 0)).unwrap().await.unwrap();
    // The stop has only a moment, which a machine that is busy may need to deliver this.
    assert_eq!(take(&mut open, 1).await, [0]);
    assert!(host.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_reports_what_the_log_did_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let open = gate(OPEN);
    let host = start_fragile(dir.path(), &open).await;
    std::fs::rename(dir.path().join("log"), dir.path().join("away")).unwrap();
    for n in 0..5 {
        host.handle().send_to_receivers(draft(&host.handle(), n, 0)).unwrap().await.unwrap();
    }
    let report = host.stop().await;
    assert_eq!((report.lost, report.is_clean()), (5, false));
}
