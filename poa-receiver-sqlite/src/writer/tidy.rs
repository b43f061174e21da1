//! What is done beside storing, one short step after the other.

use poa_core::Timestamp;
use poa_tables::TABLES;
use rusqlite::{Connection, OptionalExtension as _};

use super::Writer;
use crate::database::migrations;
use crate::error::StoreError;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An index was made.
    Indexed,
    /// So many rows were removed.
    Removed(usize),
    /// Space was given back to the file system.
    Shrunk,
    /// Nothing was left to do; the gauges are up to date.
    Idle,
}

/// Pages given back in one step.
const PAGES: i64 = 256;
/// A file with less free pages than this keeps them for rows to come.
const SPARE: i64 = 1024;
/// A file keeps one page free out of so many.
const SHARE: i64 = 4;

impl Writer {
    /// Does one thing that is due: makes an index, removes at most so many rows that were received before this time, or gives back a
    /// little of the free space. When nothing is, measures. Blocks.
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
        if let Some(before) = before {
            let removed = self.remove_before(before, rows)?;
            if removed > 0 {
                return Ok(Step::Removed(removed));
            }
        }
        if shrink(&self.connection)? {
            return Ok(Step::Shrunk);
        }
        self.measure()?;
        Ok(Step::Idle)
    }

    /// Removes rows of the first table that has any that are so old.
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

/// Gives some free pages back to the file system; false when the file keeps those that it has.
///
/// Only a file that was made to be vacuumed step by step does; an older one uses its free pages again.
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
