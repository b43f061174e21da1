//! Writes batches and changes of activity, each in one transaction.

pub(crate) mod tidy;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use poa_core::{Activity, AgentId, Message};
use poa_sqlite::Watch;
use poa_tables::Measures;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::database::{self, Location};
use crate::error::StoreError;
use crate::insert::{Insert, Refusal};

/// The most agents that are remembered as active; with more, forgetting one costs a lookup.
const REMEMBERED: usize = 1 << 16;

/// Held by the caller as long as it waits; once it is gone, nothing more is written.
pub(crate) type Wanted = Weak<()>;

/// An open database.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    path: PathBuf,
    measures: Measures,
    /// `None` if files have no numbers.
    watch: Option<Watch>,
    /// Agents whose row says active.
    active: HashSet<AgentId>,
    /// Whether the planner of queries has been given the sizes of tables since this was opened.
    analysed: bool,
}

impl Writer {
    /// Opens the database, and watches its file if requested. Blocks.
    pub(crate) fn open(
        location: &Location,
        measures: Measures,
        watching: bool,
    ) -> Result<Self, StoreError> {
        let connection = database::open(location)?;
        let path = location.path.clone();
        let watch = watching.then(|| Watch::begin(&path));
        Ok(Self { connection, path, measures, watch, active: HashSet::new(), analysed: false })
    }

    /// Stores all of these messages, or none. A message that is stored already stays as it is.
    pub(crate) fn store(&mut self, batch: &[Message], wanted: &Wanted) -> Result<(), StoreError> {
        let failed = |source| StoreError::new(&self.path, source);
        let transaction = begin(&mut self.connection, &self.path, wanted)?;
        let mut insert = Insert::new(&transaction, &self.active).map_err(failed)?;
        let mut refused = Vec::new();
        let mut cause = None;
        for (item, message) in batch.iter().enumerate() {
            match insert.message(message) {
                Ok(()) => {}
                Err(Refusal::Message(why)) => {
                    refused.push(item);
                    cause.get_or_insert(why);
                }
                Err(Refusal::Database(source)) => return Err(failed(source)),
            }
        }
        let done = insert.finish();
        if let Some(source) = cause {
            let path = self.path.display().to_string();
            return Err(StoreError::Rejected { path, items: refused, source });
        }
        transaction.commit().map_err(failed)?;
        self.be_intact()?;
        self.measures.stored(done.tally);
        self.remember(done.activated);
        Ok(())
    }

    /// Stores the changes of these agents.
    pub(crate) fn store_activity(
        &mut self,
        changes: &[Activity],
        wanted: &Wanted,
    ) -> Result<(), StoreError> {
        let failed = |source| StoreError::new(&self.path, source);
        let transaction = begin(&mut self.connection, &self.path, wanted)?;
        let mut insert = Insert::new(&transaction, &self.active).map_err(failed)?;
        for change in changes {
            insert.activity(change).map_err(failed)?;
        }
        drop(insert);
        transaction.commit().map_err(failed)?;
        self.be_intact()?;
        for change in changes.iter().filter(|change| !change.active) {
            self.active.remove(&change.agent_id);
        }
        Ok(())
    }

    fn remember(&mut self, agents: HashSet<AgentId>) {
        if self.active.len() + agents.len() > REMEMBERED {
            self.active.clear();
        }
        self.active.extend(agents);
    }

    /// Fails if the last commit went to a file that is no longer at its path.
    fn be_intact(&self) -> Result<(), StoreError> {
        if self.watch.as_ref().is_none_or(Watch::is_intact) {
            return Ok(());
        }
        Err(StoreError::Gone(self.path.display().to_string()))
    }

    /// Closes a database whose file is no longer at its path, without touching the file that is there now.
    pub(crate) fn leave(self) {
        let Some(watch) = &self.watch else { return };
        if let Err(error) = poa_sqlite::leave(self.connection, watch) {
            let path = self.path.display();
            tracing::warn!(%error, "the file that was {path} may lack rows that are in its -wal file");
        }
    }

    /// Writes everything into the database file and closes it.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        if self.be_intact().is_err() {
            self.leave();
            return Ok(());
        }
        database::close(self.connection).map_err(|source| StoreError::new(&self.path, source))
    }
}

/// Starts to write, unless the caller no longer waits for it.
///
/// The check is made with the lock held: a successor cannot have written yet, so these writes precede its own.
fn begin<'c>(
    connection: &'c mut Connection,
    path: &Path,
    wanted: &Wanted,
) -> Result<Transaction<'c>, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|source| StoreError::new(path, source))?;
    if wanted.strong_count() == 0 { Err(StoreError::GivenUp) } else { Ok(transaction) }
}

#[cfg(test)]
mod tests;
