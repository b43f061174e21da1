//! Values that survive a restart.

use std::os::unix::fs::PermissionsExt as _;

use poa_core::Receiver as _;
use poa_receiver_dashboard::Config;
use poa_testkit::Samples;
use serde_json::json;

use crate::support::{Subject, address, build, config, soon};

/// The same dashboard, rebuilt.
async fn again(subject: Subject) -> Subject {
    let Subject { receiver, address: old, dir } = subject;
    drop(receiver);
    let receiver = build(Config::listen(old).secret("wssecret"), dir.path()).await.unwrap();
    Subject { address: address(&receiver), receiver, dir }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_once_survives_any_end() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    let old = subject.address;
    let _client = subject.client().await;
    subject
        .show(samples.message(
            "a",
            "ethereum_metrics",
            &json!({"type": "information", "body": {"n": 1}}),
        ))
        .await;
    subject
        .show(samples.message("b", "ethereum_metrics", &json!({"type": "block", "body": {}})))
        .await;
    subject.inactive("b").await;
    // Not terminated: dropped, as after a panic. It listens on the same port at once.
    let subject = again(subject).await;
    assert_eq!(subject.address, old);
    let mut client = subject.client().await;
    let mut frames = [client.json().await, client.json().await];
    frames.sort_by_key(|frame| frame["agent_id"].to_string());
    assert_eq!(frames[0]["data"], json!({"type": "information", "body": {"n": 1}}));
    assert_eq!(frames[1]["data"]["body"]["active"], false);
}

#[tokio::test]
async fn an_orderly_end_keeps_everything() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    for n in 0..10 {
        let data = json!({"type": "statistics", "body": {"n": n}});
        subject.show(samples.message("a", "ethereum_metrics", &data)).await;
    }
    let mut client = subject.client().await;
    client.next().await.unwrap();
    let (code, ()) = tokio::join!(client.close_code(), subject.receiver.terminate());
    assert_eq!(code, 1001);
    let mut subject = again(subject).await;
    let mut client = subject.client().await;
    assert_eq!(client.json().await["data"]["body"]["n"], 9);
    // Delivered again after a crash, it is the same as once.
    subject
        .show(samples.message(
            "a",
            "ethereum_metrics",
            &json!({"type": "statistics", "body": {"n": 9}}),
        ))
        .await;
    assert_eq!(client.json().await["data"]["body"]["n"], 9);
}

#[tokio::test]
async fn values_that_repeat_are_written_before_long() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    for n in 0..3 {
        let data = json!({"type": "statistics", "body": {"n": n}});
        subject.show(samples.message("a", "ethereum_metrics", &data)).await;
    }
    let path = subject.dir.path().join("dashboard.db");
    let written = async || {
        let database = rusqlite::Connection::open(&path).unwrap();
        let frames = "SELECT coalesce(max(frame), '') FROM frames";
        database.query_row(frames, [], |row| row.get::<_, String>(0)).unwrap().contains(r#""n":2"#)
    };
    soon("the last value is written", async {
        while !written().await {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_with_a_cure() {
    let subject = Subject::new().await;
    let dir = tempfile::tempdir().unwrap();
    let error = build(Config::listen(subject.address), dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("address already in use") && error.contains("`listen`"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_set_aside_whole() {
    let dir = tempfile::tempdir().unwrap();
    let text = "no database, but some text that is long enough";
    std::fs::write(dir.path().join("dashboard.db"), text).unwrap();
    let mut receiver = build(config(), dir.path()).await.unwrap();
    receiver.terminate().await;
    let aside = dir.path().join("dashboard.db.damaged");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
}

#[tokio::test]
async fn a_secret_is_made_when_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = build(Config::listen(([127, 0, 0, 1], 0)), dir.path()).await.unwrap();
    let file = dir.path().join("dashboard.secret");
    let secret = std::fs::read_to_string(&file).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file), mode(dir.path().join("dashboard.db"))), (0o600, 0o600));
    let subject = Subject { address: address(&receiver), receiver, dir };
    assert!(subject.join("/ws", &[("wssecret", secret.trim())]).await.is_ok());
    assert_eq!(subject.join("/ws", &[("wssecret", "wssecret")]).await.err(), Some(401));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_keeps_nothing_from_starting() {
    let (mut subject, mut samples) = (Subject::new().await, Samples::from_now());
    let data = json!({"type": "statistics", "body": {"n": 1}});
    subject.show(samples.message("a", "ethereum_metrics", &data)).await;
    subject.receiver.terminate().await;
    let path = subject.dir.path().join("dashboard.db");
    let whole = std::fs::read(&path).unwrap();
    for damage in [0..100, 100..whole.len()] {
        let mut damaged = whole.clone();
        damaged[damage.clone()].fill(0x5a);
        std::fs::write(&path, &damaged).unwrap();
        let dir = subject.dir.path().to_owned();
        let mut receiver = build(config(), &dir).await.unwrap();
        receiver.terminate().await;
        let aside = subject.dir.path().join("dashboard.db.damaged");
        assert_eq!(std::fs::read(aside).unwrap(), damaged, "{damage:?}");
    }
}
