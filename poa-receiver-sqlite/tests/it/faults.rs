//! Failures of the database.

use std::time::Duration;

use poa_core::{DeliveryError, Message, Receiver};
use poa_receiver_sqlite::Config;
use rusqlite::Connection;

use crate::common::Subject;

fn batch(subject: &mut Subject, count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| {
            let data = format!(r#"{{"type":"latency","body":{{"latency":{n}}}}}"#);
            subject.samples.json("a1", "networking_metrics", &data)
        })
        .collect()
}

/// A transient error, and its text with all causes.
fn transient(result: Result<(), DeliveryError>) -> String {
    match result.unwrap_err() {
        DeliveryError::Transient { source, .. } => {
            format!("{source}: {:?}", source.source())
        }
        error => panic!("{error:?}"),
    }
}

fn permanent(result: Result<(), DeliveryError>) -> (Vec<usize>, String) {
    match result.unwrap_err() {
        DeliveryError::Permanent { items, source } => {
            (items, format!("{source}: {:?}", source.source()))
        }
        error => panic!("{error:?}"),
    }
}

async fn impatient() -> Subject {
    Subject::with(Config::default().busy_timeout(Duration::from_millis(10))).await
}

#[tokio::test]
async fn a_locked_database_is_retried() {
    let mut subject = impatient().await;
    let batch = batch(&mut subject, 3);
    let other = subject.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = transient(subject.receiver.metrics_received(&batch).await);
    assert!(error.contains("metrics.db is locked by another program"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    subject.store(&batch).await;
    assert_eq!(subject.counts(), [0, 0, 3]);
}

#[tokio::test]
async fn a_damaged_database_is_loud_and_can_be_restored() {
    let mut subject = Subject::new().await;
    let batch = batch(&mut subject, 3);
    subject.store(&batch[..2]).await;
    subject.receiver.terminate().await;
    let whole = std::fs::read(subject.path()).unwrap();
    let mut damaged = whole.clone();
    damaged[4096..].fill(0x5a);
    std::fs::write(subject.path(), damaged).unwrap();

    let error = transient(subject.receiver.metrics_received(&batch).await);
    assert!(error.contains("metrics.db IS DAMAGED") && error.contains("backup"), "{error}");

    std::fs::write(subject.path(), whole).unwrap();
    subject.store(&batch).await;
    assert_eq!(subject.counts(), [0, 0, 3]);
}

#[tokio::test]
async fn a_message_that_the_database_refuses_is_named() {
    let mut subject = Subject::new().await;
    let batch = batch(&mut subject, 4);
    let refuse = "CREATE TRIGGER picky BEFORE INSERT ON metrics
        WHEN json_extract(new.body, '$.latency') IN (1, 3) BEGIN SELECT raise(ABORT, 'picky'); END";
    subject.database().execute_batch(refuse).unwrap();
    let (items, error) = permanent(subject.receiver.metrics_received(&batch).await);
    assert_eq!(items, [1, 3]);
    assert!(error.contains("cannot hold the message") && error.contains("picky"), "{error}");
    assert_eq!(subject.counts(), [0, 0, 0]);
    subject.store(&[batch[0].clone(), batch[2].clone()]).await;
    assert_eq!(subject.counts(), [0, 0, 2]);
}

#[tokio::test]
async fn a_missing_table_loses_no_message() {
    let mut subject = Subject::new().await;
    let batch = batch(&mut subject, 2);
    subject.database().execute_batch("ALTER TABLE metrics RENAME TO elsewhere").unwrap();
    let error = transient(subject.receiver.metrics_received(&batch).await);
    assert!(error.contains("tables were changed by hand"), "{error}");
    subject.database().execute_batch("ALTER TABLE elsewhere RENAME TO metrics").unwrap();
    subject.store(&batch).await;
    assert_eq!(subject.counts(), [0, 0, 2]);
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_writes_nothing_later() {
    let mut subject = Subject::new().await;
    let late = batch(&mut subject, 3);
    let other = subject.database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // On a runtime of one thread the call is polled once, so its job waits for the lock.
    let call = subject.receiver.metrics_received(&late);
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    other.execute_batch("COMMIT").unwrap();
    // Waits for the connection, and so for the end of the job.
    let next = batch(&mut subject, 1);
    subject.store(&next).await;
    assert_eq!(subject.counts(), [0, 0, 1]);
}

#[tokio::test]
async fn confirmed_messages_survive_a_crash() {
    let mut subject = Subject::new().await;
    let batch = batch(&mut subject, 10);
    subject.store(&batch[..7]).await;
    // The content of the disk if the process ends here: the files as they are, without the shared memory.
    let copy = tempfile::tempdir().unwrap();
    for name in ["metrics.db", "metrics.db-wal"] {
        std::fs::copy(subject.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let found = Connection::open(copy.path().join("metrics.db")).unwrap();
    assert_eq!(crate::common::count(&found, "metrics"), 7);

    subject.crash().await;
    subject.store(&batch).await;
    assert_eq!(subject.counts(), [0, 0, 10]);
}

#[tokio::test]
async fn terminate_leaves_one_file_that_holds_everything() {
    let mut subject = Subject::new().await;
    let batch = batch(&mut subject, 5);
    subject.store(&batch).await;
    assert!(subject.dir.path().join("metrics.db-wal").exists());
    subject.receiver.terminate().await;
    subject.receiver.terminate().await;
    let names: Vec<_> =
        std::fs::read_dir(subject.dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, ["metrics.db"]);
    assert_eq!(subject.counts(), [0, 0, 5]);
}
