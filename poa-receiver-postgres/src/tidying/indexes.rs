//! Indexes for common queries: by time, and by agent and time.
//!
//! They are recognised by their columns and not by a name, so an equivalent index of the operator is not duplicated.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::link::{Opening, Params};
use crate::table::{Names, Table};

/// The columns of each.
const INDEXES: [&[&str]; 2] = [&["date"], &["agent_id", "date"]];

/// Creates the missing indexes of a table, without blocking sessions that write into it.
pub(super) async fn make_missing(
    client: &Client,
    opening: &Opening,
    names: &Names,
    table: Table,
    server: &str,
) -> Result<(), Error> {
    let name = names.of(table.name());
    for columns in INDEXES {
        if find(client, opening, &name, columns).await? == Found::Valid {
            continue;
        }
        tracing::info!(server, "creating an index on {} ({})", table.name(), columns.join(", "));
        if opening.is_session {
            // On a large table it takes long.
            client.batch_execute("SET statement_timeout = 0").await?;
        }
        if is_divided(client, opening, &name).await? {
            make_divided(client, opening, &name, columns).await?;
        } else {
            make(client, opening, &name, columns).await?;
        }
    }
    Ok(())
}

/// An index on these columns.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    None,
    Valid,
    /// Its creation was interrupted, or it lacks parts. The name is quoted for a statement.
    Unfinished(String),
}

async fn find(
    client: &Client,
    opening: &Opening,
    table: &str,
    columns: &[&str],
) -> Result<Found, Error> {
    let columns = columns.join(",");
    // Not a partial one, and with these columns first.
    let statement = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index
        WHERE indrelid = to_regclass($1) AND indpred IS NULL AND array_to_string(ARRAY(
            SELECT pg_get_indexdef(indexrelid, n, true) FROM generate_series(1, indnkeyatts) AS n), ',') || ',' LIKE $2 || ',%'
        ORDER BY indisvalid DESC";
    let params: Params<'_> = &[(&table, Type::TEXT), (&columns, Type::TEXT)];
    let rows = opening.query(client, statement, params).await?;
    let Some(row) = rows.first() else { return Ok(Found::None) };
    if row.try_get(1)? { Ok(Found::Valid) } else { Ok(Found::Unfinished(row.try_get(0)?)) }
}

/// Creates the index of a table that is not divided, or of a part.
async fn make(
    client: &Client,
    opening: &Opening,
    table: &str,
    columns: &[&str],
) -> Result<(), Error> {
    if let Found::Unfinished(index) = find(client, opening, table, columns).await? {
        client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await?;
    }
    let columns = columns.join(", ");
    client.batch_execute(&format!("CREATE INDEX CONCURRENTLY ON {table} ({columns})")).await
}

/// Creates the index of a divided table: first without its parts, then that of each part, which is attached to it.
async fn make_divided(
    client: &Client,
    opening: &Opening,
    table: &str,
    columns: &[&str],
) -> Result<(), Error> {
    if find(client, opening, table, columns).await? == Found::None {
        let make = format!("CREATE INDEX ON ONLY {table} ({})", columns.join(", "));
        // It waits for sessions that write, and others would wait behind it; so it waits only briefly, and is tried again
        // in the next round.
        let make = opening.with(&format!("SET LOCAL lock_timeout = '200ms'; {make}; COMMIT"));
        if let Err(error) = client.batch_execute(&make).await {
            client.batch_execute("ROLLBACK").await?;
            return if is_locked(&error) { Ok(()) } else { Err(error) };
        }
    }
    for part in parts(client, opening, table).await? {
        if !matches!(find(client, opening, &part, columns).await?, Found::Valid) {
            make(client, opening, &part, columns).await?;
        }
        if let (Found::Unfinished(whole), Found::Valid) = (
            find(client, opening, table, columns).await?,
            find(client, opening, &part, columns).await?,
        ) {
            attach(client, opening, &whole, &part, columns).await?;
        }
    }
    Ok(())
}

/// Whether others held a lock for too long.
fn is_locked(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Attaches the index of a part to the index of the table.
async fn attach(
    client: &Client,
    opening: &Opening,
    whole: &str,
    part: &str,
    columns: &[&str],
) -> Result<(), Error> {
    let columns = columns.join(",");
    let statement = "SELECT indexrelid::regclass::text FROM pg_index
        WHERE indrelid = to_regclass($1) AND indisvalid AND indpred IS NULL AND NOT indisunique AND array_to_string(ARRAY(
            SELECT pg_get_indexdef(indexrelid, n, true) FROM generate_series(1, indnkeyatts) AS n), ',') = $2
        ORDER BY (SELECT count(*) FROM pg_inherits WHERE inhrelid = indexrelid) DESC LIMIT 1";
    let params: Params<'_> = &[(&part, Type::TEXT), (&columns, Type::TEXT)];
    for row in opening.query(client, statement, params).await? {
        let index: String = row.try_get(0)?;
        let attach = format!("ALTER INDEX {whole} ATTACH PARTITION {index}; COMMIT");
        client.batch_execute(&opening.with(&attach)).await?;
    }
    Ok(())
}

async fn parts(client: &Client, opening: &Opening, table: &str) -> Result<Vec<String>, Error> {
    let parts = "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid
        WHERE inhparent = to_regclass($1) AND relkind = 'r' ORDER BY relname";
    let rows = opening.query(client, parts, &[(&table, Type::TEXT)]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn is_divided(client: &Client, opening: &Opening, table: &str) -> Result<bool, Error> {
    let statement =
        "SELECT EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'p')";
    let rows = opening.query(client, statement, &[(&table, Type::TEXT)]).await?;
    rows.first().map_or(Ok(false), |row| row.try_get(0))
}
