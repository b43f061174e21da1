//! Stores for definitions and statuses.

mod changes;
mod memory;
mod sqlite;

pub use changes::Changes;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

use crate::event::Event;
use crate::model::{Model, Wiring};

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused. The text names the file.
    #[error("{file}: {source}; check that its disk works and that this user may write it")]
    Database {
        /// The file.
        file: String,
        /// Why.
        source: rusqlite::Error,
    },
    /// A record cannot be read.
    #[error("{file}: the record of {what} is not valid: {reason}; restore the file from a backup")]
    Damaged {
        /// The file.
        file: String,
        /// The record.
        what: String,
        /// The problem with it.
        reason: String,
    },
    /// The file was written by a newer version.
    #[error(
        "{file} was made by a newer version (schema {found}, this one knows {known}); use that one"
    )]
    Newer {
        /// The file.
        file: String,
        /// Its schema.
        found: i64,
        /// The newest schema that is known.
        known: i64,
    },
}

/// An event that was not yet confirmed, and its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Ascending.
    pub sequence: i64,
    /// The event.
    pub event: Event,
}

/// When a commit has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it returns.
    Now,
    /// With the next commit that has to be there when it returns, or earlier. Until then a loss of power can undo it, but not the end of this
    /// process: for results that the next start finds out again.
    Soon,
}

/// Keeps one model, and the events that are not confirmed. Every method blocks.
pub trait Store: Send + 'static {
    /// Reads the model.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn load(&mut self, wiring: Wiring) -> Result<Model, StoreError>;

    /// Makes changes durable: all of them, or none. Returns the sequence of the last event, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn commit(&mut self, changes: &Changes, durable: Durability)
    -> Result<Option<i64>, StoreError>;

    /// The oldest events that were not confirmed, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn unconfirmed(&mut self, limit: usize) -> Result<Vec<Unconfirmed>, StoreError>;

    /// Forgets events up to this sequence.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn confirm(&mut self, up_to: i64) -> Result<(), StoreError>;
}
