//! The metrics of the SQL receivers, under the same names.

use poa_core::telemetry::{Counter, Gauge};
use poa_core::{BuildContext, Timestamp};

/// The tables of messages.
pub const TABLES: [&str; 3] = ["eth_stats", "system_stats", "metrics"];

/// Cells that were stored differently from what the agent sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Statistics that do not fit their table, stored whole in `metrics`.
    pub unmapped: u64,
    /// Messages with a NUL character in a text column.
    pub replaced_nul: u64,
}

/// The counters and gauges of every SQL receiver. Cloning is cheap: clones share them.
#[derive(Clone, Debug)]
pub struct Measures {
    unmapped: Counter,
    replaced_nul: Counter,
    expired: [Counter; TABLES.len()],
    oldest: [Gauge; TABLES.len()],
    bytes: Gauge,
}

impl Measures {
    /// The metrics of the receiver that is being built.
    #[must_use]
    pub fn new(cx: &BuildContext) -> Self {
        let labels = [("receiver", cx.name())];
        let counter = |name, help| cx.telemetry().counter(name, help, &labels);
        let of_table = |table| [("receiver", cx.name()), ("table", table)];
        Self {
            unmapped: counter(
                "receiver_unmapped_messages",
                "Statistics that do not fit their table and were stored whole in `metrics`",
            ),
            replaced_nul: counter(
                "receiver_replaced_nul_messages",
                "Messages with a NUL character in a text column, replaced by U+FFFD",
            ),
            expired: TABLES.map(|table| {
                let help = "Rows removed because they were older than `retention`";
                cx.telemetry().counter("receiver_expired_rows", help, &of_table(table))
            }),
            oldest: TABLES.map(|table| {
                let help = "When the oldest row of a table was received, in seconds since 1970; 0 for a table without rows";
                cx.telemetry().gauge("receiver_oldest_row_timestamp_seconds", help, &of_table(table))
            }),
            bytes: cx.telemetry().gauge(
                "receiver_database_bytes",
                "Space that the tables of a receiver and their indexes take on the disk of the database",
                &labels,
            ),
        }
    }

    /// Counts a batch that was stored.
    pub fn stored(&self, tally: Tally) {
        self.unmapped.inc_by(tally.unmapped);
        self.replaced_nul.inc_by(tally.replaced_nul);
    }

    /// Counts rows that `retention` removed from a table, by its index in [`TABLES`].
    pub fn expired(&self, table: usize, rows: u64) {
        if let Some(counter) = self.expired.get(table) {
            counter.inc_by(rows);
        }
    }

    /// Shows the time of the oldest row of a table, by its index in [`TABLES`]; `None` when it has no
    /// row.
    pub fn oldest(&self, table: usize, row: Option<Timestamp>) {
        if let Some(gauge) = self.oldest.get(table) {
            let seconds = row.map_or(0, |row| row.as_micros() / 1_000_000);
            gauge.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// Shows how many bytes the tables take.
    pub fn bytes(&self, bytes: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
