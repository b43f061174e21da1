//! The tables, and the migration of older ones.

use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::error::StoreError;
use crate::link::{Opening, Params};
use crate::partition::Period;
use crate::table::{ACTIVITY, ACTIVITY_COLUMNS, KEY, Names, Table, VERSION};

/// Each migrates the schema by one version. Never change one that was published, and make each safe to apply again: that is how a table
/// that was dropped by hand is restored.
const MIGRATIONS: [fn(&Names, Option<Period>) -> String; 1] = [first];

fn first(names: &Names, period: Option<Period>) -> String {
    let (key, divided) = match period {
        // A unique index of a divided table must include the column that divides it. A message keeps its date, so this is as unique.
        Some(_) => ("message_id, date", "PARTITION BY RANGE (date)"),
        None => ("message_id", ""),
    };
    let tables = Table::ALL.map(|table| {
        let (name, columns) = (names.of(table.name()), columns(table));
        format!("CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY ({key})) {divided};")
    });
    let activity = names.of(ACTIVITY);
    format!(
        "{}
        CREATE TABLE IF NOT EXISTS {activity}
            (agent_id text NOT NULL PRIMARY KEY, active boolean NOT NULL, since timestamptz NOT NULL);",
        tables.concat()
    )
}

fn columns(table: Table) -> String {
    let never_null = |name: &str| ["data_type", "body"].contains(&name);
    let key = KEY.iter().map(|(name, kind)| format!("{name} {kind} NOT NULL"));
    let others = table.definition().iter().map(|(name, kind)| {
        format!("{name} {kind}{}", if never_null(name) { " NOT NULL" } else { "" })
    });
    key.chain(others).collect::<Vec<_>>().join(", ")
}

/// The existing tables.
struct Found {
    /// The number of applied migrations.
    version: i32,
    /// The number of existing tables of messages and activity.
    tables: usize,
    /// Whether all of these have the columns that this receiver creates.
    ours: bool,
    /// Whether the tables of messages are divided by time.
    divided: bool,
}

const TABLES: [&str; 4] =
    [Table::Eth.name(), Table::System.name(), Table::Metrics.name(), ACTIVITY];
const LATEST: i32 = MIGRATIONS.len() as i32;

/// Creates what is missing, and returns how the tables are divided. Safe when several hosts do so at once: one migrates, the others wait
/// and find it done.
///
/// Tables that were divided after the configuration was written are used as they are, by day.
pub(crate) async fn apply(
    client: &Client,
    opening: &Opening,
    names: &Names,
    period: Option<Period>,
    server: &Arc<str>,
) -> Result<Option<Period>, StoreError> {
    let as_found = |found: &Found| period.or(found.divided.then_some(Period::Day));
    let failed = |error: Error| StoreError::new(server, &error);
    let found = find(client, names).await.map_err(failed)?;
    if is_complete(&found, names, period, server)? {
        return Ok(as_found(&found));
    }
    opening.begin(client).await.map_err(failed)?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    client.query_typed(lock, &[(&names.schema_lock(), Type::TEXT)]).await.map_err(failed)?;
    make_schema(client, names).await.map_err(failed)?;
    let found = find(client, names).await.map_err(failed)?;
    if !is_complete(&found, names, period, server)? {
        if found.version > 0 || found.tables > 0 {
            tracing::warn!(
                server = &**server,
                "tables are missing or old; creating or updating them"
            );
        }
        client.batch_execute(&statements(names, as_found(&found))).await.map_err(failed)?;
    }
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(as_found(&found))
}

fn statements(names: &Names, period: Option<Period>) -> String {
    let version = names.of(VERSION);
    let migrations: String = MIGRATIONS.iter().map(|migration| migration(names, period)).collect();
    format!(
        "{migrations}
        CREATE TABLE IF NOT EXISTS {version} (version integer NOT NULL);
        DELETE FROM {version};
        INSERT INTO {version} VALUES ({LATEST});"
    )
}

/// Whether nothing is missing.
///
/// # Errors
/// When the existing tables belong to another application, are newer, or are laid out differently from the configuration.
fn is_complete(
    found: &Found,
    names: &Names,
    period: Option<Period>,
    server: &Arc<str>,
) -> Result<bool, StoreError> {
    let schema = names.schema();
    let unusable = |what| Err(StoreError::Unusable { server: server.clone(), what });
    if found.version > LATEST {
        let newer = found.version;
        return unusable(format!(
            "the tables in schema `{schema}` were created by a newer poa (version {newer}, this one knows {LATEST}); use that one, or \
             name another `schema` or `table_prefix`"
        ));
    }
    // The version table may be missing or empty; the tables of this receiver are recognised by their columns then.
    if found.tables > 0 && found.version == 0 && !found.ours {
        return unusable(format!(
            "schema `{schema}` has tables of the same names that poa did not create; name another `schema` or a `table_prefix`"
        ));
    }
    if found.tables > 0 && !found.divided && period.is_some() {
        return unusable(format!(
            "the tables in schema `{schema}` are not divided by time; divide them with `poa-server db partition`, remove `partition`, or \
             name another `schema` or `table_prefix`"
        ));
    }
    Ok(found.version == LATEST && found.tables == TABLES.len())
}

/// Creates the schema. Call it with its lock held: `IF NOT EXISTS` alone fails for all but one of several callers. It is only executed if
/// the schema is missing, because a user without the privilege to create one may still use it.
async fn make_schema(client: &Client, names: &Names) -> Result<(), Error> {
    let there = "SELECT to_regnamespace($1) IS NOT NULL";
    let there = client.query_typed_one(there, &[(&names.quoted_schema(), Type::TEXT)]).await?;
    if there.try_get::<_, bool>(0)? {
        return Ok(());
    }
    client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", names.quoted_schema())).await
}

async fn find(client: &Client, names: &Names) -> Result<Found, Error> {
    let wanted: Vec<_> = TABLES.iter().map(|table| names.bare(table)).collect();
    let there = "SELECT relname::text, relkind = 'p',
            ARRAY(SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
                WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped)
        FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2)";
    let params: Params<'_> = &[(&names.quoted_schema(), Type::TEXT), (&wanted, Type::TEXT_ARRAY)];
    let there = client.query_typed(there, params).await?;
    let (mut ours, mut divided) = (true, false);
    for row in &there {
        let (name, columns): (String, Vec<String>) = (row.try_get(0)?, row.try_get(2)?);
        let table = name.strip_prefix(&names.bare("")).unwrap_or(&name);
        ours &= own_columns(table).all(|column| columns.contains(&column));
        divided |= row.try_get::<_, bool>(1)?;
    }
    Ok(Found { version: version(client, names).await?, tables: there.len(), ours, divided })
}

/// The columns of a table that this receiver creates, each with its type.
fn own_columns(table: &str) -> impl Iterator<Item = String> {
    let messages = Table::ALL.into_iter().find(|known| known.name() == table);
    let columns = match messages {
        Some(messages) => [&KEY[..], messages.definition()].concat(),
        None => ACTIVITY_COLUMNS.to_vec(),
    };
    columns.into_iter().map(|(name, kind)| format!("{name} {kind}"))
}

/// The number of applied migrations; 0 if it is unknown.
async fn version(client: &Client, names: &Names) -> Result<i32, Error> {
    let version = names.of(VERSION);
    let known = "SELECT to_regclass($1) IS NOT NULL";
    let known = client.query_typed_one(known, &[(&version, Type::TEXT)]).await?;
    if !known.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let query = format!("SELECT coalesce(max(version), 0) FROM {version}");
    client.query_typed_one(&query, &[]).await?.try_get(0)
}
