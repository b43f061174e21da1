//! Storing letters within the limit.

use std::sync::atomic::Ordering;

use poa_core::{BoxError, DeadLetter, DeadLetters, Format, MessageType, async_trait};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::open::Opened;
use crate::store::{DeadLetterStore, Inner, JSON, MSGPACK};

#[async_trait]
impl DeadLetters for DeadLetterStore {
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        let inner = self.0.clone();
        let dropped = tokio::task::spawn_blocking(move || inner.keep(&letters)).await??;
        if dropped > 0 {
            tracing::error!(
                dropped,
                "the oldest dead letters were removed to make room for new ones; raise `max_bytes` of [dead_letters] to keep more"
            );
        }
        Ok(())
    }
}

impl Inner {
    /// Keeps these letters, in the file that the next start finds, and returns how many older ones were removed.
    fn keep(&self, letters: &[DeadLetter]) -> Result<u64, BoxError> {
        let mut connection = self.connection.lock();
        self.renew(&mut connection)?;
        let dropped = self.write(&mut connection, letters)?;
        // It may have gone meanwhile.
        if self.renew(&mut connection)? {
            Ok(self.write(&mut connection, letters)?)
        } else {
            Ok(dropped)
        }
    }

    /// Opens the file again if it is not where it was.
    fn renew(&self, connection: &mut Opened) -> Result<bool, BoxError> {
        if !connection.renew(&self.path)? {
            return Ok(false);
        }
        self.held.store(held(connection)?, Ordering::Relaxed);
        Ok(true)
    }

    fn write(&self, connection: &mut Connection, letters: &[DeadLetter]) -> rusqlite::Result<u64> {
        let transaction = connection.transaction()?;
        letters.iter().try_for_each(|letter| insert(&transaction, letter))?;
        let kept: u64 = letters.iter().map(size).sum();
        let held = self.held.fetch_add(kept, Ordering::Relaxed) + kept;
        let dropped = if held > self.max_bytes { self.make_room(&transaction)? } else { 0 };
        transaction.commit()?;
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        Ok(dropped)
    }

    /// Removes the oldest letters if the limit is exceeded, but never the newest one. An agent that has more than half of them loses
    /// its own first. It frees a little more than necessary, so that the next letters need no scan.
    fn make_room(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let held = held(connection)?;
        let (mut dropped, mut freed) = (0, 0);
        if held > self.max_bytes {
            let excess = held - (self.max_bytes - self.max_bytes / SLACK);
            if let Some((agent, bytes)) = agent_with_most(connection)?
                && bytes > held / 2
            {
                let most = excess.min(bytes - held / 2);
                (dropped, freed) = remove_oldest(connection, Some(&agent), most)?;
            }
            if freed < excess {
                let rest = remove_oldest(connection, None, excess - freed)?;
                (dropped, freed) = (dropped + rest.0, freed + rest.1);
            }
        }
        self.held.store(held.saturating_sub(freed), Ordering::Relaxed);
        Ok(dropped)
    }
}

/// The agent whose letters take most, and how much.
fn agent_with_most(connection: &Connection) -> rusqlite::Result<Option<(String, u64)>> {
    let sql = format!(
        "SELECT agent_id, sum({SIZE}) AS bytes FROM dead_letters GROUP BY agent_id ORDER BY bytes DESC LIMIT 1"
    );
    let found = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    connection.query_row(&sql, [], found).optional()
}

/// Removes the oldest letters, of one agent or of all, but never the newest of all, until so much is free. Returns how many were
/// removed, and their size.
fn remove_oldest(
    connection: &Connection,
    agent: Option<&str>,
    bytes: u64,
) -> rusqlite::Result<(u64, u64)> {
    let sql = format!(
        "SELECT id, {SIZE} FROM dead_letters
         WHERE id <> (SELECT max(id) FROM dead_letters) AND (?1 IS NULL OR agent_id = ?1) ORDER BY id"
    );
    let (mut dropped, mut freed, mut last) = (0, 0, 0);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([agent])?;
    while let Some(row) = rows.next()?.filter(|_| freed < bytes) {
        freed += row.get::<_, i64>(1)?.unsigned_abs();
        (dropped, last) = (dropped + 1, row.get(0)?);
    }
    connection.execute(
        "DELETE FROM dead_letters WHERE id <= ?1 AND (?2 IS NULL OR agent_id = ?2)",
        params![last, agent],
    )?;
    Ok((dropped, freed))
}

/// The fraction of the limit that is free after a removal.
const SLACK: u64 = 16;

/// The overhead of a letter in the database: its row, and its ids in two indexes.
const OVERHEAD: u64 = 300;

/// The size of a letter.
const SIZE: &str =
    "(length(payload) + length(reason) + length(agent_id) + length(data_type) + 300)";

fn size(letter: &DeadLetter) -> u64 {
    let message = &letter.message;
    let texts = [message.agent_id().as_str(), message.data_type().name(), &letter.reason];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    (texts + message.payload().bytes().len()) as u64 + OVERHEAD
}

/// The size of all letters.
pub(crate) fn held(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = format!("SELECT coalesce(sum({SIZE}), 0) FROM dead_letters");
    connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

/// A letter that is here already was replayed without success: its new attempt is recorded.
fn insert(transaction: &Transaction<'_>, letter: &DeadLetter) -> rusqlite::Result<()> {
    let message = &letter.message;
    let format = match message.payload().format() {
        Format::MessagePack => MSGPACK,
        _ => JSON,
    };
    transaction
        .prepare_cached(
            "INSERT INTO dead_letters (receiver, message_id, agent_id, data_type, message_type, format,
                 payload, received_at, reason, attempts, first_attempt, set_aside)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (receiver, message_id) DO UPDATE SET reason = excluded.reason,
                 attempts = attempts + excluded.attempts, set_aside = excluded.set_aside, replay = 0",
        )?
        .execute(params![
            &*letter.receiver,
            message.id().to_string(),
            message.agent_id().as_str(),
            message.data_type().name(),
            if message.message_type() == MessageType::Bye { "bye" } else { "data" },
            format,
            &message.payload().bytes()[..],
            message.received_at().as_micros() as i64,
            letter.reason,
            letter.attempts,
            letter.first_attempt.as_micros() as i64,
            letter.set_aside.as_micros() as i64,
        ])?;
    Ok(())
}
