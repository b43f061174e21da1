//! The stored rows.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

/// A database, to be read only.
#[must_use]
pub fn database(path: &Path) -> Connection {
    let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one number that a query gives.
#[must_use]
pub fn count(database: &Connection, query: &str) -> i64 {
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

/// All rows of a query.
#[must_use]
pub fn rows<T>(database: &Connection, query: &str, read: impl Fn(&Row<'_>) -> T) -> Vec<T> {
    let mut statement = database.prepare(query).unwrap();
    let rows = statement.query_map([], |row| Ok(read(row))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The numbers `n` in the bodies of an agent's rows in `metrics`, in the order in which they were stored.
#[must_use]
pub fn numbers(database: &Connection, agent: &str) -> Vec<usize> {
    let query =
        format!("SELECT body ->> 'n' FROM metrics WHERE agent_id = '{agent}' ORDER BY rowid");
    rows(database, &query, |row| usize::try_from(row.get::<_, i64>(0).unwrap()).unwrap())
}
