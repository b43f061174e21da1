//! SQLite.

use std::path::{Path, PathBuf};

use poa_tests::{Home, count, database, history, rows, sqlite};
use rusqlite::Connection;
use tokio::task::block_in_place;

use super::{Reader, Store, step_of};

pub(crate) struct Sqlite;

fn file(home: &Home) -> PathBuf {
    home.data("metrics.db")
}

impl Store for Sqlite {
    const NAME: &'static str = "SQLite";
    type Reader = Connection;

    fn section(&self, more: &str) -> String {
        sqlite("store", "metrics.db", more)
    }

    async fn fill(&self, home: &Home, rows: u64) {
        block_in_place(|| history::fill(&file(home), rows));
    }

    async fn reader(&self, home: &Home) -> Connection {
        database(&file(home))
    }

    async fn size(&self, home: &Home) -> u64 {
        let of = |file: &Path| std::fs::metadata(file).map_or(0, |found| found.len());
        of(&file(home)) + of(&file(home).with_extension("db-wal"))
    }
}

impl Reader for Connection {
    fn ago(time: &str) -> String {
        format!("strftime('%Y-%m-%dT%H:%M:%f', 'now', '-{time}')")
    }

    async fn rows(&mut self, query: &str) -> usize {
        block_in_place(|| rows(self, query, |row| row.get_ref(0).map(drop).unwrap()).len())
    }

    async fn number(&mut self, query: &str) -> i64 {
        block_in_place(|| count(self, query))
    }

    async fn reads_whole_table(&mut self, query: &str) -> Option<String> {
        let plan = rows(self, &format!("EXPLAIN QUERY PLAN {query}"), |row| row.get(3).unwrap());
        step_of(plan, "SCAN ")
    }

    async fn has_indexes(&mut self) -> bool {
        count(self, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'poa_%'") == 6
    }
}
