//! Old rows.

use std::time::{Duration, SystemTime};

use poa_core::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::activity::time;
use crate::link::{Opening, Params};
use crate::partition;
use crate::table::{Names, Table};

/// The table from which rows are removed one by one, quoted for a statement: the table itself, or, if it is divided, the part that was
/// the whole table before. Other parts are dropped whole.
pub(super) async fn removable(
    client: &Client,
    opening: &Opening,
    names: &Names,
    table: Table,
    before: Timestamp,
) -> Result<Vec<String>, Error> {
    let name = names.of(table.name());
    let statement = format!(
        "SELECT $1 FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'r' UNION ALL
        SELECT oid::regclass::text FROM ({}) AS part WHERE name = $2 AND upper > $3",
        partition::PARTS
    );
    let (undivided, before) = (names.bare(&partition::undivided(table)), time(before));
    let params: Params<'_> =
        &[(&name, Type::TEXT), (&undivided, Type::TEXT), (&before, Type::TIMESTAMPTZ)];
    let rows = opening.query(client, &statement, params).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Removes at most this many rows that were received before this time, the oldest first; returns their number.
pub(super) async fn remove(
    client: &Client,
    opening: &Opening,
    table: &str,
    before: Timestamp,
    rows: u32,
) -> Result<u64, Error> {
    let statement = format!(
        "WITH gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table} WHERE date < $1 ORDER BY date LIMIT $2)) RETURNING 1)
        SELECT count(*) FROM gone"
    );
    let (before, rows) = (time(before), i64::from(rows));
    let params: Params<'_> = &[(&before, Type::TIMESTAMPTZ), (&rows, Type::INT8)];
    let removed = opening.query(client, &statement, params).await?;
    let count = removed.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    Ok(count.unsigned_abs())
}

/// The time at which the oldest row of a table was received.
pub(super) async fn oldest(
    client: &Client,
    opening: &Opening,
    table: &str,
) -> Result<Option<Timestamp>, Error> {
    let rows = opening.query(client, &format!("SELECT min(date) FROM {table}"), &[]).await?;
    let oldest = rows.first().map_or(Ok(None), |row| row.try_get::<_, Option<SystemTime>>(0))?;
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = |since: Duration| u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    Ok(oldest.map(|oldest| Timestamp::from_micros(micros(since(oldest)))))
}

/// The size of a table, its parts and their indexes.
pub(super) async fn bytes(client: &Client, opening: &Opening, table: &str) -> Result<u64, Error> {
    let statement = "SELECT coalesce(sum(pg_total_relation_size(whole)), 0)::bigint FROM (
        SELECT to_regclass($1)::oid AS whole UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)) AS part";
    let rows = opening.query(client, statement, &[(&table, Type::TEXT)]).await?;
    let bytes = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    Ok(bytes.unsigned_abs())
}
