//! A full disk: clear refusals, then service again without a restart, and nothing corrupt.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use poa_tests::{Answer, Client, Home, Request, Server, database, numbers, sqlite};
use tempfile::TempDir;

const ROUNDS: u64 = 10;

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount("a_full_disk_refuses_and_recovers") else { return };
    let receiver = sqlite("local", "metrics.db", "retry = { initial = \"20ms\", max = \"200ms\" }");
    let home = Home::with_data_in(&disk.path().join("data"), &receiver);
    let server = Server::start(&home).await;
    let token = server.login().await;
    let client = server.client().await;
    let mut sender = Sender { client, token, acknowledged: Vec::new(), next: 0 };

    for round in 0..ROUNDS {
        sender.until(200).await;
        let ballast = disk.fill(round * 100 * 1024);
        let refused = sender.until(503).await;
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        assert_eq!(
            refused.json()["message"],
            "the message could not be stored; the log of the server says why"
        );
        assert_eq!(server.ask("admin", &Request::new("GET", "/health/live")).await.status, 200);
        let reason = server.status().await["bus"]["log_failure"].to_string();
        assert!(reason.contains("No space left on device"), "{reason}");
        fs::remove_file(&ballast).unwrap();
    }
    sender.until(200).await;
    assert_eq!(sender.send().await.status, 200, "served again, then refused again");
    assert_eq!(server.status().await["bus"], serde_json::Value::Null);
    server.drained("local").await;
    server.stop().await;

    assert!(home.log().contains("No space left on device"), "{}", home.log());
    let database = database(&home.data("metrics.db"));
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    sender.check(&numbers(&database, "agent"));
}

/// Messages queued in memory while the disk is full are bounded, and are written once there is room.
#[tokio::test]
async fn a_full_disk_does_not_fill_the_memory() {
    // Room for what memory holds, both in the log and in the database.
    let Some(disk) = SmallDisk::of_size("a_full_disk_does_not_fill_the_memory", 256) else {
        return;
    };
    let receiver = sqlite("local", "metrics.db", "retry = { initial = \"20ms\", max = \"200ms\" }");
    let bus = "[bus]\nack = \"memory\"\n";
    let home = Home::with_data_in(&disk.path().join("data"), &(receiver + bus));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let client = server.client().await;
    let mut sender = Sender { client, token, acknowledged: Vec::new(), next: 0 };
    sender.until(200).await;
    server.drained("local").await;
    let ballast = disk.fill(0);
    let before = server.resident();
    let refused = sender.until(503).await;
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(refused.json()["message"], "the disk is too slow");
    let grown = server.resident().saturating_sub(before) >> 20;
    assert!(grown < 300, "{grown} MiB more");
    let taken = sender.acknowledged.len();
    fs::remove_file(&ballast).unwrap();
    sender.until(200).await;
    server.drained("local").await;
    server.stop().await;
    println!("{taken} messages were taken while the disk was full, {grown} MiB more resident");
    sender.check(&numbers(&database(&home.data("metrics.db")), "agent"));
}

/// A server starts on a full disk and delivers its backlog, which frees space.
#[tokio::test]
async fn a_server_starts_on_a_full_disk_and_makes_room() {
    let name = "a_server_starts_on_a_full_disk_and_makes_room";
    // The log gives room back a segment of 64 MiB at a time.
    let Some(disk) = SmallDisk::of_size(name, 160) else { return };
    let elsewhere = TempDir::with_prefix("poa-elsewhere-").unwrap();
    let file = elsewhere.path().join("metrics.db");
    let backlog = "backlog = { max_bytes = \"1GiB\", max_log = \"1GiB\" }";
    let receiver = sqlite("local", file.to_str().unwrap(), backlog);
    let home = Home::with_data_in(&disk.path().join("data"), &receiver);
    let server = Server::start(&home).await;
    let token = server.login().await;
    // Another connection keeps the receiver from storing anything.
    let locked = rusqlite::Connection::open(&file).unwrap();
    locked.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut client = server.client().await;
    let pad = "x".repeat(1 << 20);
    let message = |n: usize| {
        let body = format!(
            r#"{{"id":"agent","type":"system_metrics","data":{{"type":"t","body":{{"n":{n},"pad":"{pad}"}}}}}}"#
        );
        Request::post("/data", &token).json(&body).bytes()
    };
    let mut acknowledged = 0;
    while client.exchange(&message(acknowledged)).await.unwrap().status == 200 {
        acknowledged += 1;
    }
    assert!(acknowledged > 64, "{acknowledged} messages of a mebibyte do not fill a segment");
    let _ballast = disk.fill(0);
    server.kill().await;
    drop(locked);

    let server = Server::start(&home).await;
    server.drained("local").await;
    let mut client = server.client().await;
    poa_tests::until("there is room again", async || {
        let answer = client.exchange(&message(usize::MAX >> 1)).await.unwrap();
        (answer.status == 200).then_some(())
    })
    .await;
    server.drained("local").await;
    server.stop().await;
    let stored = numbers(&database(&file), "agent");
    let missing: Vec<_> = (0..acknowledged).filter(|n| !stored.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?} of {acknowledged} are missing");
}

/// An agent that counts its messages.
struct Sender {
    client: Client,
    token: String,
    acknowledged: Vec<usize>,
    next: usize,
}

impl Sender {
    /// Sends messages until one gets this answer.
    async fn until(&mut self, status: u16) -> Answer {
        let what = format!("an answer {status} after {} acknowledged", self.acknowledged.len());
        poa_tests::until(&what, async || {
            let answer = self.send().await;
            (answer.status == status).then_some(answer)
        })
        .await
    }

    async fn send(&mut self) -> Answer {
        let pad = "x".repeat(32 << 10);
        let n = self.next;
        let body = format!(
            r#"{{"id":"agent","type":"system_metrics","data":{{"type":"t","body":{{"n":{n},"pad":"{pad}"}}}}}}"#
        );
        self.next += 1;
        let request = Request::post("/data", &self.token).json(&body);
        let answer = self.client.exchange(&request.bytes()).await.unwrap();
        match answer.status {
            200 => self.acknowledged.push(n),
            status => assert_eq!(status, 503, "{answer:?}"),
        }
        answer
    }

    /// All that was acknowledged is stored once and in order. What was refused may be stored as well: it was written
    /// when the disk refused to confirm that.
    fn check(&self, stored: &[usize]) {
        let missing = self.acknowledged.iter().filter(|n| !stored.contains(n));
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "{missing:?} of {} are missing", self.acknowledged.len());
        assert!(stored.is_sorted_by(|one, next| one < next), "{stored:?}");
        println!(
            "{} messages of {} were acknowledged, {} are stored",
            self.acknowledged.len(),
            self.next,
            stored.len()
        );
    }
}

/// A small file system in memory. Unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts a disk. Who may not is given a namespace of their own, in which `test` is run again; nothing is left to do
    /// then.
    fn mount(test: &str) -> Option<Self> {
        Self::of_size(test, 64)
    }

    /// The same with so many mebibytes.
    fn of_size(test: &str, size: u64) -> Option<Self> {
        let dir = TempDir::with_prefix("poa-disk-").unwrap();
        let size = format!("size={size}m,mode=0700");
        let options = ["-t", "tmpfs", "-o", &size, "poa-tests"];
        let mounted = Command::new("mount").args(options).arg(dir.path()).output();
        let mounted = mounted.unwrap_or_else(|error| panic!("no `mount` of util-linux: {error}"));
        if mounted.status.success() {
            return Some(Self(dir));
        }
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(std::env::var_os(IN_NAMESPACE).is_none(), "not even in a namespace: {why}");
        run_in_namespace(test, &why);
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all room but so many bytes.
    fn fill(&self, but: u64) -> PathBuf {
        let path = self.path().join("ballast");
        let mut ballast = File::create(&path).unwrap();
        while ballast.write(&[0; 4096]).is_ok() {}
        let taken = ballast.metadata().unwrap().len();
        ballast.set_len(taken - but).unwrap();
        path
    }
}

/// Tells the test that it runs in a namespace.
const IN_NAMESPACE: &str = "POA_TESTS_IN_NAMESPACE";

fn run_in_namespace(test: &str, why: &str) {
    let status = Command::new("unshare")
        .arg("-Urm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .status();
    let passed = status.as_ref().is_ok_and(ExitStatus::success);
    assert!(
        passed,
        "failed, or cannot be run here. It needs a small file system: run it as root, or where users may have \
         namespaces (`unshare -Urm true`). mount: {why}; unshare: {status:?}"
    );
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
