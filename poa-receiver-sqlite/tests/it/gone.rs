//! The file is removed, moved or replaced under a running receiver.
//!
//! As in <https://github.com/WiseLibs/better-sqlite3/issues/1237> and <https://github.com/owncloud/client/issues/6530>: SQLite keeps
//! writing into the file that it has open, without an error.
#![cfg(unix)]

use poa_core::{Message, Receiver};
use rusqlite::Connection;

use crate::common::{Subject, count};

fn batch(subject: &mut Subject, messages: usize) -> Vec<Message> {
    (0..messages).map(|_| subject.samples.json("a1", "networking_metrics", "{}")).collect()
}

fn rename(subject: &Subject, from: &str, to: &str) {
    std::fs::rename(subject.dir.path().join(from), subject.dir.path().join(to)).unwrap();
}

/// The number of messages in the file of this name, as the next start finds it.
fn stored(subject: &Subject, name: &str) -> i64 {
    count(&Connection::open(subject.dir.path().join(name)).unwrap(), "metrics")
}

#[tokio::test]
async fn messages_confirmed_after_a_removal_are_in_the_new_file() {
    for names in [&["metrics.db", "metrics.db-wal", "metrics.db-shm"][..], &["metrics.db"]] {
        let mut subject = Subject::new().await;
        let (before, after) = (batch(&mut subject, 3), batch(&mut subject, 4));
        subject.store(&before).await;
        for name in names {
            std::fs::remove_file(subject.dir.path().join(name)).unwrap();
        }
        subject.store(&after[..1]).await;
        subject.store(&after[1..]).await;
        subject.crash().await;
        assert_eq!(subject.counts(), [0, 0, 4], "{names:?}");
        assert_eq!(subject.rows("SELECT * FROM agent_activity").len(), 1);
    }
}

#[tokio::test]
async fn a_moved_file_has_all_messages_confirmed_before() {
    let mut subject = Subject::new().await;
    let (before, after) = (batch(&mut subject, 3), batch(&mut subject, 1));
    subject.store(&before).await;
    rename(&subject, "metrics.db", "old.db");
    subject.store(&after).await;
    subject.receiver.terminate().await;
    // The message during whose call the move was detected is in both.
    assert_eq!((stored(&subject, "metrics.db"), stored(&subject, "old.db")), (1, 4));
}

#[tokio::test]
async fn a_file_moved_before_the_end_has_all_its_rows() {
    let mut subject = Subject::new().await;
    let messages = batch(&mut subject, 3);
    subject.store(&messages).await;
    rename(&subject, "metrics.db", "old.db");
    subject.receiver.terminate().await;
    assert_eq!(stored(&subject, "old.db"), 3);
}

#[tokio::test]
async fn a_log_that_is_removed_costs_no_message() {
    let mut subject = Subject::new().await;
    let messages = batch(&mut subject, 5);
    subject.store(&messages[..3]).await;
    std::fs::remove_file(subject.dir.path().join("metrics.db-wal")).unwrap();
    subject.store(&messages[3..]).await;
    subject.crash().await;
    assert_eq!(subject.counts(), [0, 0, 5]);
}

#[tokio::test]
async fn a_backup_put_in_its_place_is_used_from_then_on() {
    let mut subject = Subject::new().await;
    let messages = batch(&mut subject, 5);
    subject.store(&messages[..2]).await;
    subject
        .database()
        .execute("VACUUM INTO ?", [subject.dir.path().join("backup.db").display().to_string()])
        .unwrap();
    subject.store(&messages[2..4]).await;
    rename(&subject, "backup.db", "metrics.db");
    subject.store(&messages[4..]).await;
    subject.crash().await;
    assert_eq!(subject.counts(), [0, 0, 3]);
}

#[tokio::test]
async fn without_a_directory_no_message_is_confirmed() {
    let mut subject = Subject::new().await;
    let messages = batch(&mut subject, 2);
    subject.store(&messages[..1]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("data");
    std::fs::rename(subject.dir.path(), &moved).unwrap();
    let error = subject.receiver.metrics_received(&messages[1..]).await.unwrap_err();
    assert!(format!("{error:?}").contains("CannotOpen"), "{error:?}");
    std::fs::rename(&moved, subject.dir.path()).unwrap();
    subject.store(&messages[1..]).await;
    subject.crash().await;
    assert_eq!(subject.counts(), [0, 0, 2]);
}
