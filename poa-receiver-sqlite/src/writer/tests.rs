//! Tests that need limits which only the connection itself can set.

use std::sync::Arc;
use std::time::Duration;

use poa_core::{BuildContext, Message};
use poa_tables::Measures;
use poa_testkit::Samples;
use rusqlite::limits::Limit;
use tempfile::TempDir;

use super::Writer;
use crate::database::Location;
use crate::error::StoreError;

struct Subject {
    writer: Writer,
    samples: Samples,
    wanted: Arc<()>,
    _dir: TempDir,
}

impl Subject {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location =
            Location { path: dir.path().join("metrics.db"), busy_timeout: Duration::from_secs(5) };
        let measures = Measures::new(&BuildContext::detached("local", dir.path()));
        let writer = Writer::open(&location, measures, true).unwrap();
        Self { writer, samples: Samples::default(), wanted: Arc::new(()), _dir: dir }
    }

    fn store(&mut self, batch: &[Message]) -> Result<(), StoreError> {
        self.writer.store(batch, &Arc::downgrade(&self.wanted))
    }

    /// A message whose row takes about this many bytes.
    fn message(&mut self, bytes: usize) -> Message {
        let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
        self.samples.json("a1", "networking_metrics", &data)
    }

    fn limit_pages(&self, pages: i64) {
        self.writer
            .connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    }

    fn rows(&self) -> i64 {
        let count = "SELECT count(*) FROM metrics";
        self.writer.connection.query_row(count, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn a_full_disk_is_a_transient_error_and_later_messages_are_stored() {
    let mut subject = Subject::new();
    let (small, large) = ([subject.message(10)], [subject.message(10), subject.message(1 << 20)]);
    subject.limit_pages(40);
    let error = subject.store(&large).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }) && error.keeps_connection(), "{error:?}");
    assert!(error.to_string().starts_with("no space is left for "), "{error}");
    assert_eq!(subject.rows(), 0);
    subject.store(&small).unwrap();
    subject.limit_pages(1_000_000);
    subject.store(&large).unwrap();
    assert_eq!(subject.rows(), 3);
}

#[test]
fn a_message_that_is_too_large_for_a_row_is_named() {
    let mut subject = Subject::new();
    let limit = 100_000;
    subject.writer.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit).unwrap();
    let sizes = [10, 200_000, 10, 300_000];
    let batch = sizes.map(|bytes| subject.message(bytes));
    match subject.store(&batch).unwrap_err() {
        StoreError::Rejected { items, .. } => assert_eq!(items, [1, 3]),
        error => panic!("{error:?}"),
    }
    assert_eq!(subject.rows(), 0);
}

#[test]
fn abandoned_calls_are_not_written() {
    let mut subject = Subject::new();
    let batch = [subject.message(10)];
    let gone = Arc::downgrade(&Arc::new(()));
    let error = subject.writer.store(&batch, &gone).unwrap_err();
    assert!(matches!(error, StoreError::GivenUp), "{error:?}");
    assert_eq!(subject.rows(), 0);
    subject.store(&batch).unwrap();
    assert_eq!(subject.rows(), 1);
}
