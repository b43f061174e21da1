//! A receiver and a view of what it stored.

use std::path::PathBuf;

use poa_core::{BuildContext, Message, Plugin, Receiver};
use poa_receiver_sqlite::{Config, Sqlite};
use poa_testkit::Samples;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

/// A receiver outside of any host, with a database of its own.
pub(crate) struct Subject {
    pub(crate) receiver: Sqlite,
    pub(crate) cx: BuildContext,
    pub(crate) samples: Samples,
    pub(crate) dir: TempDir,
    config: Config,
}

impl Subject {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let dir = TempDir::new().unwrap();
        let cx = BuildContext::detached("local", dir.path());
        let receiver = Sqlite::build(config.clone(), &cx).await.unwrap();
        Self { receiver, cx, samples: Samples::default(), dir, config }
    }

    /// Drops the receiver without terminating it, and builds a new one.
    pub(crate) async fn crash(&mut self) {
        self.receiver = Sqlite::build(self.config.clone(), &self.cx).await.unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(&self.config.path)
    }

    /// Another connection to the same database.
    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    pub(crate) async fn store(&mut self, batch: &[Message]) {
        self.receiver.metrics_received(batch).await.unwrap();
    }

    /// Stores one message with this data.
    pub(crate) async fn store_json(&mut self, data_type: &str, data: &str) -> Message {
        let message = self.samples.json("a1", data_type, data);
        self.store(std::slice::from_ref(&message)).await;
        message
    }

    /// All rows of a query.
    pub(crate) fn rows(&self, query: &str) -> Vec<Vec<Value>> {
        rows(&self.database(), query)
    }

    /// The values of the only row of a query.
    pub(crate) fn row(&self, query: &str) -> Vec<Value> {
        let mut rows = self.rows(query);
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        rows.remove(0)
    }

    /// The number of rows of these tables: `eth_stats`, `system_stats`, `metrics`.
    pub(crate) fn counts(&self) -> [i64; 3] {
        ["eth_stats", "system_stats", "metrics"].map(|table| count(&self.database(), table))
    }

    /// The value of a counter with this name.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.cx.telemetry().encode();
        let line = format!("poa_{name}_total{{receiver=\"local\"}} ");
        let value = text.lines().find_map(|l| l.strip_prefix(&line));
        value.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }
}

pub(crate) fn rows(database: &Connection, query: &str) -> Vec<Vec<Value>> {
    let mut statement = database.prepare(query).unwrap();
    let columns = statement.column_count();
    let read = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
    read.unwrap().map(Result::unwrap).collect()
}

pub(crate) fn count(database: &Connection, table: &str) -> i64 {
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
