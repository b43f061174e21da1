//! Rows as agents leave them in a database of the SQLite receiver in sixty days.

use std::path::Path;

use rusqlite::Connection;

use crate::count;

/// The tables of messages.
const TABLES: [&str; 3] = ["eth_stats", "system_stats", "metrics"];

/// The number of agents that sent the rows, `agent-0` and so on.
pub const AGENTS: u64 = 200;
/// Rows of one transaction.
const CHUNK: u64 = 50_000;

/// The UUID, version 7, of the row `i` that was received at `seconds`. Ids grow with time, as those of messages do.
const ID: &str = "printf('%08x-%04x-7%03x-8%03x-%012x', CAST(seconds * 1000 AS INTEGER) >> 16, CAST(seconds * 1000 AS INTEGER) & 65535,
    i & 4095, (i >> 12) & 4095, random() & 281474976710655)";

/// The statement that fills each table, and the table's part of all rows, in tenths. Row `i` of `n` is `60 * i / n` days younger than the first.
const FILLS: [(u64, &str); 3] = [
    (
        2,
        "INSERT INTO eth_stats (message_id, date, agent_id, active, mining, hashrate, peers, gas_price, current_block)
            SELECT id, at, agent, 1, 0, 1000 + i, 25, 1000000000, i FROM rows",
    ),
    (
        5,
        "INSERT INTO system_stats (message_id, date, agent_id, cpu_load, disk_usage, memory_usage)
            SELECT id, at, agent, i % 100, 50.5, 25.25 FROM rows",
    ),
    (
        3,
        "INSERT INTO metrics (message_id, date, agent_id, data_type, type, body)
            SELECT id, at, agent, 'networking_metrics', 'peers',
                printf('{\"peers\":[%d],\"text\":\"%0120d\"}', i, i) FROM rows",
    ),
];

/// Fills the tables of a file with so many rows in all, evenly over the last sixty days. No server may run.
///
/// # Panics
/// When the file has no such tables.
pub fn fill(file: &Path, rows: u64) {
    let mut database = Connection::open(file).unwrap();
    database.pragma_update(None, "synchronous", "off").unwrap();
    for (tenths, insert) in FILLS {
        let all = rows * tenths / 10;
        for first in (0..all).step_by(CHUNK as usize) {
            let change = database.transaction().unwrap();
            let rows = format!(
                "WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {}),
                times AS (SELECT i, unixepoch('now', '-60 days') + i * 5184000.0 / {all} AS seconds FROM n),
                rows AS (SELECT i, 'agent-' || (i % {AGENTS}) AS agent,
                    strftime('%Y-%m-%dT%H:%M:%f', seconds, 'unixepoch') || '000Z' AS at,
                    {ID} AS id FROM times)
                {insert}",
                (first + CHUNK).min(all)
            );
            change.execute_batch(&rows).unwrap();
            change.commit().unwrap();
        }
    }
    // As the receiver does while a file grows.
    database.execute_batch("PRAGMA optimize = 0x10002; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// Whether a table has rows that are older than so many days.
#[must_use]
pub fn has_older(database: &Connection, days: u32) -> bool {
    TABLES.iter().any(|table| {
        let older = format!(
            "SELECT EXISTS (SELECT 1 FROM {table} WHERE date < strftime('%Y-%m-%dT%H:%M:%f', 'now', '-{days} days'))"
        );
        count(database, &older) > 0
    })
}
