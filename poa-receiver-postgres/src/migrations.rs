//! The tables, and how older ones become these.

use std::sync::Arc;

use tokio_postgres::{Client, Error};

use crate::error::StoreError;
use crate::partition::Period;
use crate::table::{ACTIVITY, Names, Table, VERSION};

/// Each brings the schema one version up. Never change one that was published, and let each do no harm when it is applied again: that
/// is how a table dropped by hand comes back.
const MIGRATIONS: [fn(&Names, Option<Period>) -> String; 1] = [first];

fn first(names: &Names, period: Option<Period>) -> String {
    let (key, divided) = match period {
        // A unique index of a divided table must have what divides it. A message keeps its date, so this is as unique.
        Some(_) => ("message_id, date", "PARTITION BY RANGE (date)"),
        None => ("message_id", ""),
    };
    let table = |table: Table, columns: &str| {
        let name = names.of(table.name());
        format!(
            "CREATE TABLE IF NOT EXISTS {name} (message_id uuid NOT NULL, date timestamptz NOT NULL, agent_id text NOT NULL,
                {columns}, PRIMARY KEY ({key})) {divided};"
        )
    };
    let eth = table(
        Table::Eth,
        "active boolean, mining boolean, hashrate numeric, peers bigint, gas_price numeric,
            current_block text, highest_block text, starting_block text",
    );
    let system = table(
        Table::System,
        "cpu_load double precision, disk_usage double precision, memory_usage double precision",
    );
    let metrics = table(Table::Metrics, "data_type text NOT NULL, type text, body jsonb NOT NULL");
    let activity = names.of(ACTIVITY);
    format!(
        "{eth} {system} {metrics}
        CREATE TABLE IF NOT EXISTS {activity}
            (agent_id text NOT NULL PRIMARY KEY, active boolean NOT NULL, since timestamptz NOT NULL);"
    )
}

/// What is there.
struct Found {
    /// How many migrations were applied.
    version: i32,
    /// How many tables of messages and activity there are.
    tables: usize,
    /// Whether the tables of messages are divided by time.
    divided: bool,
}

const TABLES: [&str; 4] =
    [Table::Eth.name(), Table::System.name(), Table::Metrics.name(), ACTIVITY];
const LATEST: i32 = MIGRATIONS.len() as i32;

/// Makes what is missing. Safe when several hosts do so at once: one migrates, the others wait and find it done.
pub(crate) async fn apply(
    client: &Client,
    names: &Names,
    period: Option<Period>,
    server: &Arc<str>,
) -> Result<(), StoreError> {
    let failed = |error: Error| StoreError::new(server, &error);
    let found = find(client, names).await.map_err(failed)?;
    if is_complete(&found, names, period, server)? {
        return Ok(());
    }
    client.batch_execute("BEGIN").await.map_err(failed)?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    client.execute(lock, &[&names.schema_lock()]).await.map_err(failed)?;
    make_schema(client, names).await.map_err(failed)?;
    let found = find(client, names).await.map_err(failed)?;
    if !is_complete(&found, names, period, server)? {
        if found.version > 0 {
            tracing::warn!(
                server = &**server,
                "tables are missing or old, and are made anew or brought up to date"
            );
        }
        client.batch_execute(&statements(names, period)).await.map_err(failed)?;
    }
    client.batch_execute("COMMIT").await.map_err(failed)
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
/// When what is there is not ours, newer, or laid out in another way than the configuration says.
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
            "the tables in schema `{schema}` were made by a newer poa (version {newer}, this one knows {LATEST}); use that one, or \
             name another `schema` or `table_prefix`"
        ));
    }
    if found.tables > 0 && found.version == 0 {
        return unusable(format!(
            "schema `{schema}` has tables of the same names that poa did not make; name another `schema` or a `table_prefix`"
        ));
    }
    if found.tables > 0 && found.divided != period.is_some() {
        let (are, cure) = if found.divided { ("are", "add") } else { ("are not", "remove") };
        return unusable(format!(
            "the tables in schema `{schema}` {are} divided by time; {cure} `partition`, or name another `schema` or `table_prefix`"
        ));
    }
    Ok(found.version == LATEST && found.tables == TABLES.len())
}

/// Makes the schema. To be called under its lock: `IF NOT EXISTS` alone fails for all but one of those who do so at once. And only asked
/// for when it is missing, because who may not make one may still use one.
async fn make_schema(client: &Client, names: &Names) -> Result<(), Error> {
    let there = "SELECT to_regnamespace($1) IS NOT NULL";
    if client.query_one(there, &[&names.quoted_schema()]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", names.quoted_schema())).await
}

async fn find(client: &Client, names: &Names) -> Result<Found, Error> {
    let wanted: Vec<_> = TABLES.iter().map(|table| names.bare(table)).collect();
    let kinds = "SELECT relkind = 'p' FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2)";
    let kinds = client.query(kinds, &[&names.quoted_schema(), &wanted]).await?;
    let divided =
        kinds.iter().map(|row| row.try_get::<_, bool>(0)).collect::<Result<Vec<_>, _>>()?;
    let known = "SELECT to_regclass($1) IS NOT NULL";
    let version = names.of(VERSION);
    let versioned: bool = client.query_one(known, &[&version]).await?.try_get(0)?;
    let version = if versioned {
        let query = format!("SELECT coalesce(max(version), 0) FROM {version}");
        client.query_one(&query, &[]).await?.try_get(0)?
    } else {
        0
    };
    Ok(Found { version, tables: divided.len(), divided: divided.contains(&true) })
}
