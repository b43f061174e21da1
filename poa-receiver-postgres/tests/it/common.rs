//! A receiver and a view of what it stored.

use std::time::Duration;

use poa_core::{
    BuildContext, BuildError, DeliveryError, Message, Plugin, Receiver, ReceiverContext,
};
use poa_receiver_postgres::{Config, Postgres};
use poa_testkit::Samples;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// The time limit of each wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One row of a query, as text; NULL is `None`.
pub(crate) type Row = Vec<Option<String>>;

/// A receiver outside of any host, with a schema of its own on the server that all tests share.
pub(crate) struct Subject {
    pub(crate) receiver: Postgres,
    pub(crate) database: Database,
    pub(crate) cx: BuildContext,
    pub(crate) samples: Samples,
    config: Config,
    _dir: TempDir,
}

/// A receiver that a host has started.
async fn started(config: Config, cx: &BuildContext) -> Result<Postgres, BuildError> {
    let mut receiver = Postgres::build(config, cx).await?;
    receiver.start(ReceiverContext::detached(cx)).await.unwrap();
    Ok(receiver)
}

impl Subject {
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// With a configuration derived from the default by this closure.
    pub(crate) async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let database = Database::shared().await;
        let config = change(database.config());
        Self::at(database, config).await
    }

    /// At this database, with this configuration.
    pub(crate) async fn at(database: Database, config: Config) -> Self {
        let dir = TempDir::new().unwrap();
        let cx = BuildContext::detached("store", dir.path());
        let receiver = started(config.clone(), &cx).await.unwrap();
        Self { receiver, database, cx, samples: Samples::default(), config, _dir: dir }
    }

    /// Drops the receiver without terminating it, and builds a new one.
    pub(crate) async fn crash(&mut self) {
        self.receiver = started(self.config.clone(), &self.cx).await.unwrap();
    }

    /// Builds another receiver of the same tables.
    pub(crate) async fn another(
        &self,
        change: impl FnOnce(Config) -> Config,
    ) -> Result<Postgres, BuildError> {
        started(change(self.config.clone()), &self.cx).await
    }

    pub(crate) async fn store(&mut self, batch: &[Message]) {
        self.receiver.metrics_received(batch).await.unwrap();
    }

    /// Stores one message with this data.
    pub(crate) async fn store_json(&mut self, data_type: &str, data: &str) -> Message {
        let message = self.samples.json("a1", data_type, data);
        self.store(std::slice::from_ref(&message)).await;
        message
    }

    /// Messages that go to `metrics`, numbered.
    pub(crate) fn batch(&mut self, count: usize) -> Vec<Message> {
        let data = |n: usize| format!(r#"{{"type":"latency","body":{{"latency":{n}}}}}"#);
        (0..count).map(|n| self.samples.json("a1", "networking_metrics", &data(n))).collect()
    }

    /// The values of the only row of a query.
    pub(crate) async fn row(&self, query: &str) -> Row {
        self.database.row(query).await
    }

    /// The number of rows of these tables: `eth_stats`, `system_stats`, `metrics`.
    pub(crate) async fn counts(&self) -> [u64; 3] {
        self.database.counts().await
    }

    /// The value of a counter with this name.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.value(name, "receiver=\"store\"")
    }

    /// The value of a counter that exists for each table.
    pub(crate) fn counter_of_table(&self, name: &str, table: &str) -> u64 {
        self.value(name, &format!("receiver=\"store\",table=\"{table}\""))
    }

    fn value(&self, name: &str, labels: &str) -> u64 {
        let text = self.cx.telemetry().encode();
        let line = format!("poa_{name}_total{{{labels}}} ");
        let value = text.lines().find_map(|l| l.strip_prefix(&line));
        value.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }
}

/// A schema of its own, seen by another client. The schema is dropped with it.
pub(crate) struct Database {
    pub(crate) client: Client,
    pub(crate) schema: String,
    /// The application name of the receiver.
    pub(crate) id: String,
    pub(crate) url: String,
}

impl Database {
    /// On the server that all tests share.
    pub(crate) async fn shared() -> Self {
        Self::at(&poa_test_postgres::shared()).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let schema = format!("poa test {id}");
        let client = connect(url).await;
        client
            .batch_execute(&format!("SET search_path TO \"{schema}\"; SET timezone TO 'UTC'"))
            .await
            .unwrap();
        Self { client, schema, id, url: url.to_owned() }
    }

    /// The default configuration for this schema.
    pub(crate) fn config(&self) -> Config {
        let name = format!("application_name={}", self.id);
        Config::new(with_option(&self.url, &name)).schema(&self.schema)
    }

    pub(crate) async fn execute(&self, statements: &str) {
        self.client.batch_execute(statements).await.unwrap();
    }

    pub(crate) async fn rows(&self, query: &str) -> Vec<Row> {
        let messages = self.client.simple_query(query).await.unwrap();
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()).collect()
    }

    /// The values of the only row of a query.
    pub(crate) async fn row(&self, query: &str) -> Row {
        let mut rows = self.rows(query).await;
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        rows.remove(0)
    }

    /// The only value of the only row of a query.
    pub(crate) async fn value(&self, query: &str) -> String {
        self.row(query).await.remove(0).unwrap()
    }

    pub(crate) async fn counts(&self) -> [u64; 3] {
        let query = "SELECT (SELECT count(*) FROM eth_stats), (SELECT count(*) FROM system_stats), (SELECT count(*) FROM metrics)";
        let row = self.row(query).await;
        [0, 1, 2].map(|at| row[at].as_deref().unwrap().parse().unwrap())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let url = self.url.clone();
        // The maintenance task of a receiver may be creating an index, on a runtime that waits for this to end.
        let drop = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = '{} tidying';
            SET lock_timeout = '10s'; DROP SCHEMA IF EXISTS \"{}\" CASCADE",
            self.id, self.schema
        );
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // The server may be gone by now, and its data with it.
            runtime.block_on(async {
                if let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await {
                    let connection = tokio::spawn(connection);
                    let _ = client.batch_execute(&drop).await;
                    connection.abort();
                }
            });
        });
        let _ = dropping.join();
    }
}

/// This URL, which may have options already, with one more.
pub(crate) fn with_option(url: &str, option: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{option}")
}

/// This URL with another database, and without options.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let place = url.split_once('?').map_or(url, |(place, _)| place);
    let (server, _) = place.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

#[test]
fn urls_of_custom_servers_may_have_options() {
    let (plain, more) = ("postgres://u:p@h:1/d", "postgres://u:p@h/d?sslmode=disable");
    assert_eq!(with_option(plain, "a=b"), "postgres://u:p@h:1/d?a=b");
    assert_eq!(with_option(more, "a=b"), "postgres://u:p@h/d?sslmode=disable&a=b");
    assert_eq!(with_database(more, "x"), "postgres://u:p@h/x");
}

/// Waits until a lock of another session blocks the connection of this name.
pub(crate) async fn until_blocked(watcher: &Client, name: &str) {
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
    let waiting = async {
        while watcher.query_one(blocked, &[&name]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the receiver is held up");
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A transient error, as text with all causes.
pub(crate) fn transient(result: Result<(), DeliveryError>) -> String {
    match result.unwrap_err() {
        DeliveryError::Transient { source, .. } => format!("{source}"),
        error => panic!("{error:?}"),
    }
}

/// The permanently refused items, and the reason.
pub(crate) fn permanent(result: Result<(), DeliveryError>) -> (Vec<usize>, String) {
    match result.unwrap_err() {
        DeliveryError::Permanent { items, source } => {
            (items, format!("{source}: {:?}", source.source()))
        }
        error => panic!("{error:?}"),
    }
}

pub(crate) fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}
