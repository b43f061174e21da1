//! The statements that store a batch.

use std::collections::BTreeSet;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::future::{try_join, try_join3};
use poa_core::MessageId;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, CopyInSink, Error};
use uuid::Uuid;

use super::Statements;
use crate::activity;
use crate::encode::{Encoded, HEADER, Rows, TRAILER};
use crate::link::Params;
use crate::table::Table;

/// Stores all rows in one transaction.
///
/// Nothing is stored if a message cannot be read. After that and after an error, the connection must not be used again.
///
/// The batch is read while the server receives the rows of the first table; those of the others wait. Each statement is sent before
/// the response to the previous one has arrived, so a batch takes two round trips and one more for each table beyond the first.
pub(super) async fn all(
    client: &Client,
    statements: &Statements,
    rows: &mut Rows<'_>,
) -> Result<(), Error> {
    let Some(first) = rows.first_table() else { return Ok(()) };
    let last = copy_all(client, statements, rows, first).await?;
    if rows.unreadable.is_none() {
        // If the first fails, the server treats COMMIT as ROLLBACK.
        try_join(finish(last), client.batch_execute("COMMIT")).await?;
    }
    Ok(())
}

/// Starts a transaction and copies all rows, those of this table first; returns the COPY that is still open at the end.
async fn copy_all(
    client: &Client,
    statements: &Statements,
    rows: &mut Rows<'_>,
    first: Table,
) -> Result<Sink, Error> {
    let begin = statements.opening.begin(client);
    let read = async {
        // Both statements are sent before the first rows are encoded.
        tokio::task::yield_now().await;
        rows.read_chunk(0);
        Ok(())
    };
    let (_, sink, ()) = try_join3(begin, statements.copy_in(client, first), read).await?;
    let mut open = stream(sink, first, rows).await?;
    let others = Table::ALL.into_iter().filter(|table| *table != first);
    for (table, bytes) in rows.copies(others, rows.all()) {
        let next = statements.copy_in(client, table);
        let (_, sink) = try_join(finish(open), next).await?;
        open = fill(sink, bytes).await?;
    }
    Ok(open)
}

/// Copies these rows, in the open transaction.
pub(super) async fn some(
    client: &Client,
    statements: &Statements,
    rows: &Rows<'_>,
    chosen: &[Encoded],
) -> Result<(), Error> {
    for (table, bytes) in rows.copies(Table::ALL, chosen) {
        let sink = statements.copy_in(client, table).await?;
        finish(fill(sink, bytes).await?).await?;
    }
    Ok(())
}

type Sink = Pin<Box<CopyInSink<Bytes>>>;

/// Copies the rows of this table, and reads the batch to its end.
async fn stream(sink: CopyInSink<Bytes>, table: Table, rows: &mut Rows<'_>) -> Result<Sink, Error> {
    let mut sink = Box::pin(sink);
    let mut next = 0;
    sink.feed(Bytes::from_static(HEADER)).await?;
    while let Some(chunk) = rows.next_chunk(table, &mut next) {
        sink.feed(chunk).await?;
        // The connection writes it now, before the next is encoded.
        tokio::task::yield_now().await;
    }
    sink.feed(Bytes::from_static(TRAILER)).await?;
    Ok(sink)
}

async fn fill(sink: CopyInSink<Bytes>, bytes: Bytes) -> Result<Sink, Error> {
    let mut sink = Box::pin(sink);
    sink.send(bytes).await?;
    Ok(sink)
}

async fn finish(mut sink: Sink) -> Result<(), Error> {
    sink.as_mut().finish().await.map(drop)
}

/// The messages that are stored, in any table.
pub(super) async fn stored(
    client: &Client,
    statements: &Statements,
    rows: &Rows<'_>,
) -> Result<BTreeSet<MessageId>, Error> {
    let ids: Vec<_> = rows.all().iter().map(|row| Uuid::from_bytes(*row.id.as_bytes())).collect();
    let dates = || rows.all().iter().map(|row| row.date);
    let (Some(first), Some(last)) = (dates().min(), dates().max()) else {
        return Ok(BTreeSet::new());
    };
    let (first, last) = (activity::time(first), activity::time(last));
    let params: Params<'_> =
        &[(&ids, Type::UUID_ARRAY), (&first, Type::TIMESTAMPTZ), (&last, Type::TIMESTAMPTZ)];
    let found = statements.opening.query(client, &statements.stored, params).await?;
    let id = |row: &tokio_postgres::Row| {
        Ok(MessageId::from_bytes(row.try_get::<_, Uuid>(0)?.into_bytes()))
    };
    found.iter().map(id).collect()
}
