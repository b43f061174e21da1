//! Looks into the database with a second connection, as any program can.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::output::say;

const EVERY: Duration = Duration::from_millis(200);

/// A row of `system_stats`.
#[derive(Debug)]
pub(crate) struct Row {
    date: String,
    agent: String,
    cpu_load: f64,
}

/// Prints the first row that is newer than `before`.
pub(crate) async fn announce_first(database: PathBuf, before: Option<Row>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let Some(row) = look(&database).await else { continue };
        if before.as_ref().is_none_or(|before| before.date < row.date) {
            let Row { date, agent, cpu_load } = row;
            say(format_args!(
                "\nfirst row in system_stats of {}:\n  {date}  {agent}  cpu_load = {cpu_load:.2}",
                database.display()
            ));
            return;
        }
    }
}

/// The newest row of the demo's agent, as far as the database can be read.
pub(crate) async fn look(database: &Path) -> Option<Row> {
    let database = database.to_owned();
    let found = tokio::task::spawn_blocking(move || newest(&database)).await;
    found.ok()?.ok()?
}

fn newest(database: &Path) -> rusqlite::Result<Option<Row>> {
    const NEWEST: &str = "SELECT date, agent_id, cpu_load FROM system_stats \
         WHERE agent_id = ?1 AND cpu_load IS NOT NULL ORDER BY message_id DESC LIMIT 1";
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection
        .query_row(NEWEST, [super::agent::NAME], |row| {
            Ok(Row { date: row.get(0)?, agent: row.get(1)?, cpu_load: row.get(2)? })
        })
        .optional()
}
