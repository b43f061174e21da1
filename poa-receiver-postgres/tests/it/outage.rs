//! A server that stops, crashes, or runs out of space while a host delivers to it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use poa_core::{Host, Receipt, ReceiverOptions};
use poa_receiver_postgres::{Config, Postgres};
use poa_test_postgres::{Cluster, Setup};
use poa_testkit::{METRICS, TestHost, factory};
use serde_json::json;
use tempfile::TempDir;

use crate::common::{PATIENCE, connect};

fn options() -> ReceiverOptions {
    let mut options = TestHost::options().batch(50, Duration::ZERO);
    options.retry.initial = poa_core::config::Duration::from_millis(5);
    options.retry.max = poa_core::config::Duration::from_millis(50);
    options
}

async fn host(cluster: &Cluster) -> TestHost {
    let config = Config::new(cluster.url("postgres"));
    TestHost::start(|host| host.receiver_from("subject", options(), factory::<Postgres>(config)))
        .await
}

fn send(host: &TestHost, n: usize) -> Receipt {
    let draft = host.draft("a1", METRICS[n % 3], &json!({"type": "count", "body": {"n": n}}));
    host.handle().send_to_receivers(draft).unwrap_or_else(|error| panic!("{error}"))
}

async fn all(receipts: Vec<Receipt>) {
    let delivered = async {
        for receipt in receipts {
            receipt.await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, delivered).await.expect("everything is delivered in the end");
}

/// Waits until the receiver has failed this often since.
async fn failures(host: &TestHost, more: u64) {
    let retried = || host.status("subject").delivery.unwrap().retried;
    let wanted = retried() + more;
    let failing = async {
        while retried() < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.expect("the outage is noticed");
}

/// Rows, and different numbers among them, in the order of the messages.
async fn stored(cluster: &Cluster) -> (i64, i64) {
    let client = connect(&cluster.url("postgres")).await;
    let query = "SELECT count(*), count(DISTINCT body ->> 'n') FROM metrics";
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_and_crashed_under_load_costs_nothing() {
    const MESSAGES: usize = 6000;
    let mut cluster = Cluster::start(Setup::default()).unwrap();
    let host = host(&cluster).await;
    let mut receipts = Vec::new();
    for n in 0..MESSAGES {
        receipts.push(send(&host, n));
        // In the middle of a batch as often as not: batches are small, and nothing waits for them here.
        match n {
            1000 | 3000 => cluster.stop().unwrap(),
            1500 | 3500 => {
                failures(&host, 3).await;
                cluster.resume().unwrap();
            }
            4500 | 5000 | 5500 => {
                cluster.crash().unwrap();
                cluster.resume().unwrap();
            }
            _ if n % 100 == 0 => tokio::task::yield_now().await,
            _ => {}
        }
    }
    all(receipts).await;
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(&cluster).await, (MESSAGES as i64, MESSAGES as i64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_without_its_server() {
    let mut cluster = Cluster::start(Setup::default()).unwrap();
    cluster.stop().unwrap();
    let host = host(&cluster).await;
    let receipts: Vec<_> = (0..10).map(|n| send(&host, n)).collect();
    let failing = async {
        loop {
            let status = serde_json::to_string(&host.status("subject")).unwrap();
            if status.contains("is the server running") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let status =
        tokio::time::timeout(PATIENCE, failing).await.expect("the status says what is wrong");
    assert!(!status.contains(cluster.password()), "{status}");
    cluster.resume().unwrap();
    all(receipts).await;
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(&cluster).await, (10, 10));
}

#[tokio::test]
async fn a_host_that_requires_its_server_refuses_to_start() {
    let dir = TempDir::new().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config::new(format!("postgres://me:hunter2@{free}/stats"));
    let mut options = options();
    options.required = true;
    let host = Host::builder()
        .metrics(METRICS)
        .data_dir(dir.path())
        .receiver::<Postgres>("store", options, config);
    let error = host.start().await.unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    assert!(text.contains("Connection refused") && !text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_really_full_costs_nothing() {
    let Some(disk) = SmallDisk::mount() else { return full_disk_is_injected() };
    let cluster = Cluster::start(Setup::default()).unwrap();
    let space = disk.directory_for_server();
    let client = connect(&cluster.url("postgres")).await;
    client
        .batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", space.display()))
        .await
        .unwrap();
    client.batch_execute("ALTER ROLE postgres SET default_tablespace = small").await.unwrap();
    let host = host(&cluster).await;
    let ballast = disk.fill();
    let pad = "x".repeat(1000);
    let mut receipts = Vec::new();
    for n in 0..2000 {
        let draft =
            host.draft("a1", METRICS[0], &json!({"type": "count", "body": {"n": n, "pad": pad}}));
        receipts.push(host.handle().send_to_receivers(draft).unwrap());
    }
    failures(&host, 3).await;
    let status = serde_json::to_string(&host.status("subject")).unwrap();
    assert!(status.contains("free space on the disk of the server"), "{status}");
    std::fs::remove_file(ballast).unwrap();
    all(receipts).await;
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(&cluster).await, (2000, 2000));
}

/// Only root may mount a small disk. `faults::a_full_disk_is_for_now` says by a trigger what a full disk would.
fn full_disk_is_injected() {
    eprintln!(
        "no small disk can be mounted here, so this was tested only with an error that is injected"
    );
}

/// A file system in memory. Unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TempDir::with_prefix("poa-disk-").unwrap();
        let options = ["-t", "tmpfs", "-o", "size=24m,mode=0755", "poa-tests"];
        let mounted = Command::new("mount").args(options).arg(dir.path()).output().unwrap();
        mounted.status.success().then(|| Self(dir))
    }

    /// A directory that the server may use: it runs as somebody else.
    fn directory_for_server(&self) -> PathBuf {
        let space = self.0.path().join("space");
        std::fs::create_dir(&space).unwrap();
        std::os::unix::fs::chown(&space, Some(65_534), Some(65_534)).unwrap();
        space
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("ballast");
        let mut ballast = std::fs::File::create(&path).unwrap();
        while std::io::Write::write(&mut ballast, &[0; 4096]).is_ok() {}
        // A little is left, so that some rows find room and others do not.
        let taken = ballast.metadata().unwrap().len();
        ballast.set_len(taken - (512 << 10)).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
