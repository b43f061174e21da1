//! Maintenance alongside storing, in short steps.

use poa_core::Timestamp;
use poa_tables::TABLES;
use rusqlite::{Connection, OptionalExtension as _};

use super::Writer;
use crate::database::migrations;
use crate::error::StoreError;

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An index was created.
    Indexed,
    /// The sizes of tables were written down for the planner of queries.
    Analysed,
    /// This many rows were removed.
    Removed(usize),
    /// Space was released to the file system.
    Shrunk,
    /// Nothing was left to do; the gauges are up to date.
    Idle,
}

/// The number of pages released in one step.
const PAGES: i64 = 256;
/// A file with fewer free pages than this keeps them for future rows.
const SPARE: i64 = 1024;
/// The reciprocal of the fraction of pages that a file keeps free.
const SHARE: i64 = 4;

impl Writer {
    /// Performs one due action: creates an index, analyses tables, removes at most this many rows that were received before this time, or
    /// releases a part of the free space. If none is due, measures. Blocks.
    pub(crate) fn tidy(
        &mut self,
        before: Option<Timestamp>,
        rows: u32,
    ) -> Result<Step, StoreError> {
        self.step(before, rows).map_err(|source| StoreError::new(&self.path, source))
    }

    fn step(&mut self, before: Option<Timestamp>, rows: u32) -> rusqlite::Result<Step> {
        if let Some(index) = migrations::missing_index(&self.connection)? {
            let path = self.path.display();
            let on = index.on();
            tracing::info!("creating an index on {on} in {path}; messages wait until it is ready");
            self.connection.execute_batch(&index.statement())?;
            return Ok(Step::Indexed);
        }
        if !self.analysed {
            self.analyse()?;
            self.analysed = true;
            return Ok(Step::Analysed);
        }
        if let Some(before) = before {
            let removed = self.remove_before(before, rows)?;
            if removed > 0 {
                return Ok(Step::Removed(removed));
            }
        }
        if shrink(&self.connection)? {
            return Ok(Step::Shrunk);
        }
        self.analyse()?;
        self.measure()?;
        Ok(Step::Idle)
    }

    /// Without sizes, SQLite reads a whole table to group the rows of the last hour by agent. Looks at no more than 2,000 rows of each index,
    /// and only if a table has grown or shrunk tenfold since the last time.
    fn analyse(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("PRAGMA optimize = 0x10002")
    }

    /// Removes rows of the first table that has any this old.
    fn remove_before(&mut self, before: Timestamp, rows: u32) -> rusqlite::Result<usize> {
        let before = before.to_string();
        for (at, table) in TABLES.into_iter().enumerate() {
            let remove = format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE date < ?1 ORDER BY date LIMIT ?2)"
            );
            let removed = self.connection.prepare_cached(&remove)?.execute((&before, rows))?;
            if removed > 0 {
                self.measures.expired(at, removed as u64);
                return Ok(removed);
            }
        }
        Ok(0)
    }

    fn measure(&self) -> rusqlite::Result<()> {
        for (at, table) in TABLES.into_iter().enumerate() {
            let oldest = format!("SELECT unixepoch(date) FROM {table} ORDER BY date LIMIT 1");
            let oldest = self
                .connection
                .prepare_cached(&oldest)?
                .query_row([], |row| row.get::<_, Option<i64>>(0))
                .optional()?;
            let seconds = oldest.flatten().and_then(|seconds| u64::try_from(seconds).ok());
            let time = |seconds: u64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
            self.measures.oldest(at, seconds.map(time));
        }
        let bytes =
            number(&self.connection, "page_count")? * number(&self.connection, "page_size")?;
        self.measures.bytes(bytes.unsigned_abs());
        Ok(())
    }
}

/// Releases some free pages to the file system; returns false when the file keeps those that it has.
///
/// Only a file that was created for incremental vacuuming does; an older one reuses its free pages.
fn shrink(connection: &Connection) -> rusqlite::Result<bool> {
    const INCREMENTAL: i64 = 2;
    let free = number(connection, "freelist_count")?;
    if free <= SPARE
        || free * SHARE <= number(connection, "page_count")?
        || number(connection, "auto_vacuum")? != INCREMENTAL
    {
        return Ok(false);
    }
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    Ok(number(connection, "freelist_count")? < free)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}
