//! The statements of one transaction.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};

use poa_core::{Activity, AgentId, BoxError, Message, MessageType};
use poa_tables::{Mapped, Row, Tally};
use rusqlite::{CachedStatement, Connection, ErrorCode};

use crate::cell::Bound;

const INSERT_ETH: &str =
    "INSERT INTO eth_stats (message_id, date, agent_id, active, mining, hashrate, peers,
        gas_price, current_block, highest_block, starting_block)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING";

const INSERT_SYSTEM: &str =
    "INSERT INTO system_stats (message_id, date, agent_id, cpu_load, disk_usage, memory_usage)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING";

const INSERT_METRIC: &str =
    "INSERT INTO metrics (message_id, date, agent_id, type, body, data_type)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING";

/// A state that does not change keeps its `since`, so repeating it is harmless.
const UPSERT_ACTIVITY: &str =
    "INSERT INTO agent_activity (agent_id, active, since) VALUES (?, ?, ?)
    ON CONFLICT (agent_id) DO UPDATE SET active = excluded.active, since = excluded.since
    WHERE active <> excluded.active";

/// The reason why a message was not inserted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The content of the message is the cause: a permanent error.
    Message(BoxError),
    /// The database is the cause.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        use ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
        match error.sqlite_error_code() {
            Some(TooBig | ConstraintViolation | TypeMismatch) => Self::Message(error.into()),
            _ => Self::Database(error),
        }
    }
}

/// The result of a transaction, to be counted and remembered once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) tally: Tally,
    pub(crate) activated: HashSet<AgentId>,
}

/// Inserts messages and changes of activity within the current transaction of the connection.
pub(crate) struct Insert<'c> {
    eth: CachedStatement<'c>,
    system: CachedStatement<'c>,
    metric: CachedStatement<'c>,
    activity: CachedStatement<'c>,
    /// Agents known to be active.
    active: &'c HashSet<AgentId>,
    done: Done,
    id: String,
    date: String,
}

impl<'c> Insert<'c> {
    pub(crate) fn new(
        connection: &'c Connection,
        active: &'c HashSet<AgentId>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            eth: connection.prepare_cached(INSERT_ETH)?,
            system: connection.prepare_cached(INSERT_SYSTEM)?,
            metric: connection.prepare_cached(INSERT_METRIC)?,
            activity: connection.prepare_cached(UPSERT_ACTIVITY)?,
            active,
            done: Done::default(),
            id: String::new(),
            date: String::new(),
        })
    }

    /// Inserts a message, unless it is stored already.
    pub(crate) fn message(&mut self, message: &Message) -> Result<(), Refusal> {
        let refused = |error: BoxError| Refusal::Message(error);
        let json = message.payload().to_json().map_err(|error| refused(error.into()))?;
        // SQLite does not enforce column types, so it can hold every cell.
        let mapped =
            poa_tables::map(message.message_type(), message.data_type().name(), &json, |_| true)
                .map_err(|error| refused(error.into()))?;
        write_to(&mut self.id, message.id());
        write_to(&mut self.date, message.received_at());
        let inserted = self.row(message, &mapped.row)?;
        if inserted {
            self.count(&mapped);
        }
        if message.message_type() == MessageType::Data {
            self.activate(message)?;
        }
        Ok(())
    }

    /// Whether the row is new.
    fn row(&mut self, message: &Message, row: &Row<'_>) -> rusqlite::Result<bool> {
        let statement = match row {
            Row::Eth(_) => &mut self.eth,
            Row::System(_) => &mut self.system,
            Row::Metric(_) => &mut self.metric,
        };
        statement.raw_bind_parameter(1, &self.id)?;
        statement.raw_bind_parameter(2, &self.date)?;
        statement.raw_bind_parameter(3, message.agent_id().as_str())?;
        for (at, cell) in (4..).zip(row.cells()) {
            statement.raw_bind_parameter(at, Bound(cell))?;
        }
        if let Row::Metric(_) = row {
            statement.raw_bind_parameter(6, message.data_type().name())?;
        }
        Ok(statement.raw_execute()? > 0)
    }

    fn count(&mut self, mapped: &Mapped<'_>) {
        self.done.tally.unmapped += u64::from(mapped.unmapped);
        self.done.tally.replaced_nul += u64::from(mapped.replaced_nul);
    }

    /// An agent that sends data is active, whatever was recorded before.
    fn activate(&mut self, message: &Message) -> rusqlite::Result<()> {
        let agent = message.agent_id();
        if self.active.contains(agent) || self.done.activated.contains(agent) {
            return Ok(());
        }
        self.activity.execute((agent.as_str(), true, &self.date))?;
        self.done.activated.insert(agent.clone());
        Ok(())
    }

    /// Sets the state of an agent.
    pub(crate) fn activity(&mut self, change: &Activity) -> rusqlite::Result<()> {
        write_to(&mut self.date, change.since);
        self.activity.execute((change.agent_id.as_str(), change.active, &self.date))?;
        Ok(())
    }

    /// Releases the connection; the transaction can now be committed.
    pub(crate) fn finish(self) -> Done {
        self.done
    }
}

/// Writes the text of a value into a reused buffer.
fn write_to(buffer: &mut String, value: impl Display) {
    buffer.clear();
    write!(buffer, "{value}").expect("writing to a String does not fail");
}
