//! What a batch becomes: rows in PostgreSQL's binary COPY format.

mod field;
mod jsonb;
mod numeric;

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use poa_core::{BoxError, Message, MessageId, MessageType, Timestamp};
use poa_tables::{Mapped, Row};

use crate::activity::{Agents, Seen};
use crate::partition::{Part, Period};
use crate::table::Table;

/// What begins a binary COPY: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What ends it: a row of -1 columns.
const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// The rows of a batch, encoded.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// In the order of the batch.
    rows: Vec<Encoded>,
    bytes: BytesMut,
    /// The agents that send data.
    pub(crate) agents: Agents,
    pub(crate) counts: Counts,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// The place of its message in the batch.
    pub(crate) item: usize,
    pub(crate) id: MessageId,
    pub(crate) date: Timestamp,
    table: Table,
    bytes: Range<usize>,
}

/// What was stored otherwise than an operator may expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) unmapped: u64,
    pub(crate) replaced_nul: u64,
    pub(crate) wrapped: u64,
}

/// Messages that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) items: Vec<usize>,
    /// Why the first of them cannot.
    pub(crate) cause: BoxError,
}

impl Rows {
    /// The rows of these messages.
    pub(crate) fn encode(batch: &[Message]) -> Result<Self, Unreadable> {
        let mut rows = Self::default();
        let mut unreadable = Vec::new();
        let mut cause = None;
        for (item, message) in batch.iter().enumerate() {
            if let Err(why) = rows.push(item, message) {
                unreadable.push(item);
                cause.get_or_insert(why);
            }
        }
        match cause {
            Some(cause) => Err(Unreadable { items: unreadable, cause }),
            None => Ok(rows),
        }
    }

    fn push(&mut self, item: usize, message: &Message) -> Result<(), BoxError> {
        let json = message.payload().to_json()?;
        let data_type = message.data_type().name();
        let mapped =
            poa_tables::map(message.message_type(), data_type, &json, numeric::holds_cell)?;
        let begin = self.bytes.len();
        let table = self.row(message, &mapped);
        let (id, date) = (message.id(), message.received_at());
        self.rows.push(Encoded { item, id, date, table, bytes: begin..self.bytes.len() });
        if message.message_type() == MessageType::Data {
            self.see(message);
        }
        Ok(())
    }

    /// Who sends data is active.
    fn see(&mut self, message: &Message) {
        let at = message.received_at();
        match self.agents.get_mut(message.agent_id()) {
            Some(seen) => seen.last = at,
            None => {
                self.agents.insert(message.agent_id().clone(), Seen { first: at, last: at });
            }
        }
    }

    fn row(&mut self, message: &Message, mapped: &Mapped<'_>) -> Table {
        let table = match mapped.row {
            Row::Eth(_) => Table::Eth,
            Row::System(_) => Table::System,
            Row::Metric(_) => Table::Metrics,
        };
        let out = &mut self.bytes;
        out.put_i16(table.width());
        field::uuid(message.id(), out);
        field::timestamp(message.received_at(), out);
        field::text(message.agent_id().as_str(), out);
        let mut done = field::Done::default();
        for cell in mapped.row.cells() {
            done.add(field::cell(cell, out));
        }
        if table == Table::Metrics {
            field::text(message.data_type().name(), out);
        }
        self.counts.unmapped += u64::from(mapped.unmapped);
        self.counts.replaced_nul += u64::from(mapped.replaced_nul || done.replaced_nul);
        self.counts.wrapped += u64::from(done.wrapped);
        table
    }

    /// All rows.
    pub(crate) fn all(&self) -> &[Encoded] {
        &self.rows
    }

    /// Leaves out the rows of messages that are stored already, and all but the first of each message.
    pub(crate) fn without(&mut self, stored: &BTreeSet<MessageId>) {
        let mut seen = stored.clone();
        self.rows.retain(|row| seen.insert(row.id));
    }

    /// What COPY is to get for each table, for those of these rows that belong there.
    pub(crate) fn copies<'r>(
        &'r self,
        rows: &'r [Encoded],
    ) -> impl Iterator<Item = (Table, Bytes)> + 'r {
        Table::ALL.into_iter().filter_map(|table| Some((table, self.copy(table, rows)?)))
    }

    fn copy(&self, table: Table, rows: &[Encoded]) -> Option<Bytes> {
        let mut rows = rows.iter().filter(|row| row.table == table).peekable();
        rows.peek()?;
        let mut copy = BytesMut::with_capacity(HEADER.len() + self.bytes.len() + TRAILER.len());
        copy.put_slice(HEADER);
        rows.for_each(|row| copy.put_slice(&self.bytes[row.bytes.clone()]));
        copy.put_slice(TRAILER);
        Some(copy.freeze())
    }

    /// The parts of tables that these rows go to.
    pub(crate) fn parts(&self, period: Period) -> BTreeSet<Part> {
        self.rows.iter().map(|row| Part::of(row.table, period, row.date)).collect()
    }
}

#[cfg(test)]
mod tests;
