//! Writes batches and changes of activity, each in one transaction.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use poa_core::telemetry::Counter;
use poa_core::{Activity, AgentId, BuildContext, Message};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::database::{self, Location};
use crate::error::StoreError;
use crate::insert::{Insert, Refusal};

/// How many agents are remembered to be active; when there are more, forgetting costs a look-up, nothing else.
const REMEMBERED: usize = 1 << 16;

/// Counts what was stored otherwise than an operator may expect.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) unmapped: Counter,
    pub(crate) replaced_nul: Counter,
}

impl Counters {
    /// The counters of the receiver that is being built.
    pub(crate) fn new(cx: &BuildContext) -> Self {
        let labels = [("receiver", cx.name())];
        let counter = |name, help| cx.telemetry().counter(name, help, &labels);
        Self {
            unmapped: counter(
                "receiver_unmapped_messages",
                "Statistics that do not fit their table and were stored whole in `metrics`",
            ),
            replaced_nul: counter(
                "receiver_replaced_nul_messages",
                "Messages with a NUL character in a text column, where U+FFFD stands now",
            ),
        }
    }
}

/// Held by whoever still waits for the call; once it is gone, nothing is written any more.
pub(crate) type Wanted = Weak<()>;

/// An open database.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    path: PathBuf,
    counters: Counters,
    /// Agents whose row says active.
    active: HashSet<AgentId>,
}

impl Writer {
    /// Opens the database. Blocks.
    pub(crate) fn open(location: &Location, counters: Counters) -> Result<Self, StoreError> {
        let connection = database::open(location)?;
        Ok(Self { connection, path: location.path.clone(), counters, active: HashSet::new() })
    }

    /// Stores all of these messages, or none. One that is stored already stays as it is.
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
        self.counters.unmapped.inc_by(done.unmapped);
        self.counters.replaced_nul.inc_by(done.replaced_nul);
        self.remember(done.activated);
        Ok(())
    }

    /// Stores what became of these agents.
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

    /// Brings everything into the database file and closes it.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        database::close(self.connection).map_err(|source| StoreError::new(&self.path, source))
    }
}

/// Begins to write, unless nobody waits for it any more.
///
/// The question is asked with the lock in hand: a successor cannot have written yet, so what is written here comes before.
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
