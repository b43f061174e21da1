//! The databases.

mod postgres;
mod sqlite;

use poa_tests::Home;

pub(crate) use postgres::Postgres;
pub(crate) use sqlite::Sqlite;

/// The tables of messages.
const TABLES: [&str; 3] = ["eth_stats", "system_stats", "metrics"];

/// A database that a receiver `store` fills.
pub(crate) trait Store {
    const NAME: &'static str;
    type Reader: Reader;

    /// The section of the receiver, with further lines.
    fn section(&self, more: &str) -> String;

    /// Fills the tables with so many rows in all, evenly over the last sixty days. No server runs.
    async fn fill(&self, home: &Home, rows: u64);

    /// A connection of people.
    async fn reader(&self, home: &Home) -> Self::Reader;

    /// The bytes of tables and indexes.
    async fn size(&self, home: &Home) -> u64;
}

/// A connection that reads.
pub(crate) trait Reader: Send + 'static {
    /// The moment that long ago.
    fn ago(time: &str) -> String;

    /// The number of rows that a query finds.
    fn rows(&mut self, query: &str) -> impl Future<Output = usize> + Send;

    /// The one number that a query gives.
    fn number(&mut self, query: &str) -> impl Future<Output = i64> + Send;

    /// The step of the query's plan that reads a whole table of messages, even where it is small.
    fn reads_whole_table(&mut self, query: &str) -> impl Future<Output = Option<String>> + Send;

    /// Whether each table has its indexes.
    fn has_indexes(&mut self) -> impl Future<Output = bool> + Send;
}

/// The number of rows in all tables.
pub(crate) async fn count_all(reader: &mut impl Reader) -> i64 {
    let mut all = 0;
    for table in TABLES {
        all += reader.number(&format!("SELECT count(*) FROM {table}")).await;
    }
    all
}

/// Whether a table has rows from before that time.
pub(crate) async fn has_older<R: Reader>(reader: &mut R, time: &str) -> bool {
    for table in TABLES {
        let before = R::ago(time);
        let older = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE date < {before} LIMIT 1) AS old"
        );
        if reader.number(&older).await > 0 {
            return true;
        }
    }
    false
}

/// The step that reads the whole of one of the tables, by the words for that.
fn step_of(plan: Vec<String>, reads: &str) -> Option<String> {
    let whole =
        |step: &String| TABLES.iter().any(|table| step.contains(&format!("{reads}{table}")));
    plan.into_iter().find(whole)
}
