//! The statements that store a batch.

use std::collections::BTreeSet;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::future::{try_join, try_join3};
use poa_core::MessageId;
use tokio_postgres::{Client, CopyInSink, Error, Statement};
use uuid::Uuid;

use super::Statements;
use crate::activity::{self, Agents};
use crate::encode::{Encoded, Rows};

/// Stores all rows and that these agents are active, in one transaction; the agents that are active then. After an error,
/// the connection must not be used again.
///
/// Each statement is sent before the answer to the one before has come, so a batch takes two round trips and one more for each table
/// beyond the first.
pub(super) async fn all(
    client: &Client,
    statements: &Statements,
    rows: &Rows,
    agents: &Agents,
) -> Result<Vec<String>, Error> {
    let since = agents.iter().map(|(agent, seen)| (agent, seen.first));
    let upsert = activity::upsert(client, &statements.activity, since, true);
    let mut open = None;
    for (table, bytes) in rows.copies(rows.all()) {
        let next = client.copy_in(statements.copy(table));
        let (_, sink) = match open.take() {
            None => try_join(client.batch_execute("BEGIN"), next).await?,
            Some(last) => try_join(finish(last), next).await?,
        };
        open = Some(fill(sink, bytes).await?);
    }
    match open {
        // When one fails, the server takes COMMIT for ROLLBACK.
        Some(last) => {
            let commit = client.batch_execute("COMMIT");
            Ok(try_join3(finish(last), upsert, commit).await?.1)
        }
        None => upsert.await,
    }
}

/// Copies these rows, in the transaction that is open.
pub(super) async fn some(
    client: &Client,
    statements: &Statements,
    rows: &Rows,
    chosen: &[Encoded],
) -> Result<(), Error> {
    for (table, bytes) in rows.copies(chosen) {
        let sink = client.copy_in(statements.copy(table)).await?;
        finish(fill(sink, bytes).await?).await?;
    }
    Ok(())
}

type Sink = Pin<Box<CopyInSink<Bytes>>>;

async fn fill(sink: CopyInSink<Bytes>, bytes: Bytes) -> Result<Sink, Error> {
    let mut sink = Box::pin(sink);
    sink.send(bytes).await?;
    Ok(sink)
}

async fn finish(mut sink: Sink) -> Result<(), Error> {
    sink.as_mut().finish().await.map(drop)
}

/// Which of the messages are stored, in whatever table.
pub(super) async fn stored(
    client: &Client,
    statement: &Statement,
    rows: &Rows,
) -> Result<BTreeSet<MessageId>, Error> {
    let ids: Vec<_> = rows.all().iter().map(|row| Uuid::from_bytes(*row.id.as_bytes())).collect();
    let dates = || rows.all().iter().map(|row| row.date);
    let (Some(first), Some(last)) = (dates().min(), dates().max()) else {
        return Ok(BTreeSet::new());
    };
    let found =
        client.query(statement, &[&ids, &activity::time(first), &activity::time(last)]).await?;
    let id = |row: &tokio_postgres::Row| {
        Ok(MessageId::from_bytes(row.try_get::<_, Uuid>(0)?.into_bytes()))
    };
    found.iter().map(id).collect()
}
