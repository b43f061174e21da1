//! A server that stops, crashes, or runs out of space while a host delivers to it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use poa_core::{Host, Receipt, ReceiverOptions};
use poa_receiver_postgres::{Config, Postgres};
use poa_test_postgres::{Cluster, Setup};
use poa_testkit::{METRICS, TestHost, receiver_factory};
use serde_json::json;
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::common::{PATIENCE, connect, until_blocked};
use crate::proxy::{Proxy, Way};
use crate::secrets::Log;

fn options() -> ReceiverOptions {
    let mut options = TestHost::options().batch(50, Duration::ZERO);
    options.retry.initial = poa_core::config::Duration::from_millis(5);
    options.retry.max = poa_core::config::Duration::from_millis(50);
    options
}

pub(crate) async fn host(cluster: &Cluster) -> TestHost {
    let config = Config::new(cluster.url("postgres"));
    TestHost::start(|host| {
        host.receiver_from("subject", options(), receiver_factory::<Postgres>(config))
    })
    .await
}

pub(crate) fn send(host: &TestHost, n: usize) -> Receipt {
    let draft = host.draft("a1", METRICS[n % 3], &json!({"type": "count", "body": {"n": n}}));
    host.handle().send_to_receivers(draft).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn all(receipts: Vec<Receipt>) {
    let delivered = async {
        for receipt in receipts {
            receipt.await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, delivered).await.expect("everything is delivered in the end");
}

fn retried(host: &TestHost) -> u64 {
    host.status("subject").delivery.unwrap().retried
}

/// Waits until the receiver has failed this often from now on.
async fn failures(host: &TestHost, more: u64) {
    failed(host, retried(host) + more).await;
}

/// Waits until the receiver has failed this often.
async fn failed(host: &TestHost, wanted: u64) {
    let failing = async {
        while retried(host) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.expect("the outage is noticed");
}

/// Rows, and different numbers among them, in the order of the messages.
pub(crate) async fn stored(cluster: &Cluster) -> (i64, i64) {
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
        // At any point of a batch. `a_server_that_crashes_in_the_middle_of_a_batch_costs_nothing` ensures the middle.
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

/// A batch whose first rows are written, and whose others wait for a lock: certainly the middle of a batch. The lock belongs to no
/// session, so that none can end before that of the receiver and release it.
async fn held_up(host: &TestHost, watcher: &Client, count: usize) -> Vec<Receipt> {
    let lock = "BEGIN; LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'lock'";
    watcher.batch_execute(lock).await.unwrap();
    let statistics = json!({"type": "statistics", "body": {}});
    let receipts = (0..count).map(|n| match n {
        0 => {
            let draft = host.draft("a1", "ethereum_metrics", &statistics);
            host.handle().send_to_receivers(draft).unwrap_or_else(|error| panic!("{error}"))
        }
        n => send(host, n),
    });
    let receipts = receipts.collect();
    until_blocked(watcher, "poa subject").await;
    receipts
}

async fn eth_stats(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM eth_stats", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_the_middle_of_a_batch_costs_nothing() {
    let setup = Setup::default().set("max_prepared_transactions=1");
    let mut cluster = Cluster::start(setup).unwrap();
    let host = host(&cluster).await;
    for crash in [false, true] {
        let watcher = connect(&cluster.url("postgres")).await;
        let before = retried(&host);
        let receipts = held_up(&host, &watcher, 40).await;
        if crash {
            cluster.crash().unwrap();
        } else {
            cluster.stop().unwrap();
        }
        failed(&host, before + 1).await;
        cluster.resume().unwrap();
        let client = connect(&cluster.url("postgres")).await;
        assert_eq!(eth_stats(&client).await, 0, "the whole batch was undone");
        client.batch_execute("ROLLBACK PREPARED 'lock'").await.unwrap();
        all(receipts).await;
        assert_eq!((eth_stats(&client).await, stored(&cluster).await), (1, (39, 39)));
        client.batch_execute("TRUNCATE eth_stats, metrics").await.unwrap();
    }
    assert!(host.stop().await.is_clean());
}

/// The last error in the status of the receiver, once it contains this text.
pub(crate) async fn says(host: &TestHost, what: &str) {
    let saying = async {
        while !serde_json::to_string(&host.status("subject")).unwrap().contains(what) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saying)
        .await
        .unwrap_or_else(|_| panic!("`{what}` is not reported: {:?}", host.status("subject")));
}

#[tokio::test]
async fn a_host_reports_each_failure_and_loses_nothing() {
    let log = Log::default();
    let _guard = log.listen();
    let cluster = Cluster::start(Setup::default().tcp()).unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", cluster.port().unwrap())).await;
    let port = cluster.port().unwrap().to_string();
    let url = cluster.url("postgres").replace(&port, &proxy.port.to_string());
    let config = Config::new(url).statement_timeout(Duration::from_secs(2));
    let host = TestHost::start(|host| {
        host.receiver_from("subject", options(), receiver_factory::<Postgres>(config))
    })
    .await;
    let watcher = connect(&cluster.url("postgres")).await;

    // The connection is cut in the middle of a COPY.
    let pad = "x".repeat(20_000);
    let draft = |n: usize| {
        host.draft("a1", METRICS[n % 3], &json!({"type": "count", "body": {"n": n, "pad": pad}}))
    };
    proxy.cut_after(Way::ToServer, 100_000);
    let cut: Vec<_> = (0..20).map(|n| host.handle().send_to_receivers(draft(n)).unwrap()).collect();
    says(&host, "the connection was lost and will be restored").await;
    all(cut).await;

    // A statement takes too long.
    watcher.batch_execute("BEGIN; LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let late = (20..40).map(|n| send(&host, n)).collect();
    says(&host, "statement timeout (SQLSTATE 57014); raise `statement_timeout`").await;
    watcher.batch_execute("COMMIT").await.unwrap();
    all(late).await;
    assert_eq!(stored(&cluster).await, (40, 40));

    // A table is dropped by hand.
    watcher.batch_execute("DROP TABLE metrics").await.unwrap();
    all((40..60).map(|n| send(&host, n)).collect()).await;
    assert_eq!(stored(&cluster).await, (20, 20));
    assert!(host.stop().await.is_clean());
    let log = log.text();
    for said in [
        "the connection was lost and will be restored",
        "raise `statement_timeout`, or end what holds the tables locked",
        "tables are missing or old; creating or updating them",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(!log.contains(cluster.password()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_starts_without_its_server() {
    let mut cluster = Cluster::start(Setup::default()).unwrap();
    cluster.stop().unwrap();
    let host = host(&cluster).await;
    let receipts: Vec<_> = (0..10).map(|n| send(&host, n)).collect();
    says(&host, "is the server running").await;
    let status = serde_json::to_string(&host.status("subject")).unwrap();
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
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_types(METRICS)
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
    let disk = SmallDisk::mount(24);
    let cluster = Cluster::start(Setup::default()).unwrap();
    let space = disk.directory_for_server("space");
    let client = connect(&cluster.url("postgres")).await;
    client
        .batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", space.display()))
        .await
        .unwrap();
    client.batch_execute("ALTER ROLE postgres SET default_tablespace = small").await.unwrap();
    let host = host(&cluster).await;
    // A little is left, so that some rows fit and others do not.
    let ballast = disk.fill(512 << 10);
    let receipts = send_much(&host);
    says(&host, "free space on the disk of the server").await;
    std::fs::remove_file(ballast).unwrap();
    all(receipts).await;
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(&cluster).await, (MUCH as i64, MUCH as i64));
}

/// A server that cannot write its write-ahead log ends itself, and cannot start until there is space again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_write_ahead_log_costs_nothing() {
    let disk = SmallDisk::mount(64);
    let setup = Setup::default().wal_in(&disk.directory_for_server("wal"));
    let mut cluster = Cluster::start(setup).unwrap();
    let host = host(&cluster).await;
    let ballast = disk.fill(0);
    let receipts = send_much(&host);
    failures(&host, 3).await;
    let log = cluster.log();
    assert!(log.contains("No space left on device"), "{log}");
    std::fs::remove_file(ballast).unwrap();
    // It may have ended for good already.
    let _ = cluster.crash();
    cluster.resume().unwrap();
    all(receipts).await;
    assert!(host.stop().await.is_clean());
    assert_eq!(stored(&cluster).await, (MUCH as i64, MUCH as i64));
}

const MUCH: usize = 2000;

/// More than fits beside the ballast.
fn send_much(host: &TestHost) -> Vec<Receipt> {
    // Data that the server cannot compress.
    let pad = || (0..140).map(|_| uuid::Uuid::new_v4().to_string()).collect::<String>();
    let data = |n| json!({"type": "count", "body": {"n": n, "pad": pad()}});
    let drafts = (0..MUCH).map(|n| host.draft("a1", METRICS[0], &data(n)));
    drafts.map(|draft| host.handle().send_to_receivers(draft).unwrap()).collect()
}

/// A file system in memory. Unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// One of this many megabytes.
    fn mount(size: usize) -> Self {
        let dir = TempDir::with_prefix("poa-disk-").unwrap();
        let options = format!("size={size}m,mode=0755");
        let options = ["-t", "tmpfs", "-o", &options, "poa-tests"];
        let mounted = Command::new("mount").args(options).arg(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(
            mounted.status.success(),
            "this test needs a disk that it can fill, and only root may mount one: {said}; run it as root, or leave it out with \
             `cargo nextest run -E 'not test(full)'` (`faults::a_full_disk_is_a_transient_error` simulates a full disk with a trigger)"
        );
        Self(dir)
    }

    /// A directory that the server may use: it runs as another user.
    fn directory_for_server(&self, name: &str) -> PathBuf {
        let space = self.0.path().join(name);
        std::fs::create_dir(&space).unwrap();
        std::os::unix::fs::chown(&space, Some(65_534), Some(65_534)).unwrap();
        space
    }

    /// Leaves this many bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.path().join("ballast");
        let mut ballast = std::fs::File::create(&path).unwrap();
        while std::io::Write::write(&mut ballast, &[0; 4096]).is_ok() {}
        let taken = ballast.metadata().unwrap().len();
        ballast.set_len(taken - left).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
