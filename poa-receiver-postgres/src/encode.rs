//! Encodes a batch as rows in PostgreSQL's binary COPY format.

mod field;
mod jsonb;
mod numeric;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use poa_core::{AgentId, BoxError, Message, MessageId, MessageType, Timestamp};
use poa_tables::{Mapped, Row, Tally};

use crate::activity::{Agents, Seen};
use crate::table::Table;

/// The beginning of a binary COPY: the signature, no flags, no extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of a binary COPY: a row of -1 columns.
pub(crate) const TRAILER: &[u8] = &(-1i16).to_be_bytes();
/// The number of bytes that are encoded before the server gets them and processes them while the next are encoded.
const CHUNK: usize = 16 << 10;

/// The rows of a batch, encoded as far as the batch was read.
#[derive(Debug, Default)]
pub(crate) struct Rows<'b> {
    batch: &'b [Message],
    /// The number of messages of the batch that were read.
    read: usize,
    /// In the order of the batch.
    rows: Vec<Encoded>,
    bytes: BytesMut,
    /// The tables of rows that were left out, because they are stored already.
    stored_in: BTreeSet<Table>,
    /// The agents that send data.
    agents: Agents,
    pub(crate) counts: Counts,
    /// The messages among those read that have no row.
    pub(crate) unreadable: Option<Unreadable>,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// The index of its message in the batch.
    pub(crate) item: usize,
    pub(crate) id: MessageId,
    pub(crate) date: Timestamp,
    pub(crate) table: Table,
    bytes: Range<usize>,
}

/// Values that were stored differently from what the agent sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) tally: Tally,
    pub(crate) wrapped: u64,
}

/// Messages that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) items: Vec<usize>,
    /// The reason for the first of them.
    pub(crate) cause: BoxError,
}

impl<'b> Rows<'b> {
    /// The rows of these messages, of which none has been read yet.
    pub(crate) fn of(batch: &'b [Message]) -> Self {
        Self { batch, ..Self::default() }
    }

    /// Reads the rest of the batch.
    pub(crate) fn read_all(&mut self) {
        while self.read_next() {}
    }

    /// The table of the first row. Reads on until there is one; `None` if no message has a row.
    pub(crate) fn first_table(&mut self) -> Option<Table> {
        while self.rows.is_empty() && self.read_next() {}
        Some(self.rows.first()?.table)
    }

    /// Reads on until there is a chunk from this row on, if there are enough messages.
    pub(crate) fn read_chunk(&mut self, from: usize) {
        let begin = self.rows.get(from).map_or(self.bytes.len(), |row| row.bytes.start);
        while self.bytes.len() < begin + CHUNK && self.read_next() {}
    }

    /// The next bytes to COPY into this table: the rows from `from` on and of some more messages, which may be empty if their rows
    /// belong elsewhere. `None` if neither rows nor messages are left. Moves `from` after them.
    pub(crate) fn next_chunk(&mut self, table: Table, from: &mut usize) -> Option<Bytes> {
        self.read_chunk(*from);
        let begin = std::mem::replace(from, self.rows.len());
        let rows = &self.rows[begin..];
        let mut chunk = BytesMut::new();
        self.put(table, rows, &mut chunk);
        (!rows.is_empty()).then(|| chunk.freeze())
    }

    /// False if all messages were read.
    fn read_next(&mut self) -> bool {
        let item = self.read;
        let Some(message) = self.batch.get(item) else { return false };
        self.read += 1;
        if let Err(cause) = self.push(item, message) {
            let first = || Unreadable { items: Vec::new(), cause };
            self.unreadable.get_or_insert_with(first).items.push(item);
        }
        true
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

    /// An agent that sends data is active.
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
        self.counts.tally.unmapped += u64::from(mapped.unmapped);
        self.counts.tally.replaced_nul += u64::from(mapped.replaced_nul || done.replaced_nul);
        self.counts.wrapped += u64::from(done.wrapped);
        table
    }

    /// The times at which the messages of the batch were received.
    pub(crate) fn dates(&self) -> impl Iterator<Item = Timestamp> + 'b {
        self.batch.iter().map(Message::received_at)
    }

    /// The agents that send data, except for these.
    pub(crate) fn agents_but(&self, known: &HashSet<AgentId>) -> Agents {
        let unknown = self.agents.iter().filter(|(agent, _)| !known.contains(*agent));
        unknown.map(|(agent, seen)| (agent.clone(), *seen)).collect()
    }

    /// All rows.
    pub(crate) fn all(&self) -> &[Encoded] {
        &self.rows
    }

    /// After all messages were read, leaves out the rows of messages that are stored already, and all but the first of each message.
    /// False if none are left.
    pub(crate) fn without(&mut self, stored: &BTreeSet<MessageId>) -> bool {
        let mut seen = stored.clone();
        let before = self.rows.len();
        let left_out = self.rows.iter().filter(|row| stored.contains(&row.id));
        self.stored_in.extend(left_out.map(|row| row.table));
        self.rows.retain(|row| seen.insert(row.id));
        self.rows.len() < before
    }

    /// The number of rows in this table.
    pub(crate) fn count(&self, table: Table) -> usize {
        self.rows.iter().filter(|row| row.table == table).count()
    }

    /// Whether this batch already has rows in this table.
    pub(crate) fn has_some(&self, table: Table) -> bool {
        self.stored_in.contains(&table)
    }

    /// The bytes to COPY into each of these tables, for those of these rows that belong there.
    pub(crate) fn copies<'r>(
        &'r self,
        tables: impl IntoIterator<Item = Table> + 'r,
        rows: &'r [Encoded],
    ) -> impl Iterator<Item = (Table, Bytes)> + 'r {
        tables.into_iter().filter_map(|table| Some((table, self.copy(table, rows)?)))
    }

    fn copy(&self, table: Table, rows: &[Encoded]) -> Option<Bytes> {
        let mut copy = BytesMut::from(HEADER);
        self.put(table, rows, &mut copy);
        if copy.len() == HEADER.len() {
            return None;
        }
        copy.put_slice(TRAILER);
        Some(copy.freeze())
    }

    /// Appends those of these rows that belong to this table.
    fn put(&self, table: Table, rows: &[Encoded], out: &mut BytesMut) {
        let rows = rows.iter().filter(|row| row.table == table).map(|row| row.bytes.clone());
        out.reserve(rows.clone().map(|bytes| bytes.len()).sum());
        rows.for_each(|bytes| out.put_slice(&self.bytes[bytes]));
    }
}

#[cfg(test)]
mod tests;
