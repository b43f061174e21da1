//! Taking letters in.

use std::sync::atomic::Ordering;

use poa_core::{BoxError, DeadLetter, DeadLetters, Format, MessageType, async_trait};
use rusqlite::{Connection, Transaction, params};

use crate::store::{DeadLetterStore, Inner, JSON, MSGPACK};

#[async_trait]
impl DeadLetters for DeadLetterStore {
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
        let inner = self.0.clone();
        let dropped = tokio::task::spawn_blocking(move || inner.keep(&letters)).await??;
        if dropped > 0 {
            tracing::error!(
                dropped,
                "the oldest dead letters gave way to new ones; raise their limit to keep more"
            );
        }
        Ok(())
    }
}

impl Inner {
    /// Keeps these letters, and returns how many older ones gave way.
    fn keep(&self, letters: &[DeadLetter]) -> rusqlite::Result<u64> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        letters.iter().try_for_each(|letter| insert(&transaction, letter))?;
        let dropped = self.make_room(&transaction)?;
        transaction.commit()?;
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        Ok(dropped)
    }

    /// Drops the oldest letters that are over the bound, but never the newest one.
    fn make_room(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let bound = i64::try_from(self.max_bytes).unwrap_or(i64::MAX);
        let dropped = connection.execute(
            "DELETE FROM dead_letters WHERE id IN (
                 SELECT id FROM (
                     SELECT id, sum(length(payload)) OVER (ORDER BY id DESC) AS held FROM dead_letters
                 ) WHERE held > ?1
             ) AND id <> (SELECT max(id) FROM dead_letters)",
            [bound],
        )?;
        Ok(dropped as u64)
    }
}

/// A letter that was here already was replayed in vain: what is new about it counts.
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
