//! Opening databases in various states.

use futures_util::future::join_all;
use poa_core::{BuildContext, BuildError, Plugin, Receiver};
use poa_receiver_postgres::{Config, Period, Postgres};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Database, Subject, connect, with_database, with_option};

async fn build(config: Config) -> Result<Postgres, BuildError> {
    Postgres::build(config, &BuildContext::detached("store", std::env::temp_dir())).await
}

/// A retry may succeed, once an operator has changed something outside; the other receivers of a host run meanwhile.
async fn unavailable(config: Config) -> String {
    match build(config).await.unwrap_err() {
        BuildError::Unavailable(message, _) => message,
        error => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_may_start_at_once() {
    let database = Database::shared().await;
    let configs =
        [database.config(), database.config().table_prefix("d_").partition(Period::Month)];
    // Each on a thread of its own, so that they also collide on the server; with two prefixes, because the schema is shared by
    // both.
    let builds = (0..16).map(|n| tokio::spawn(build(configs[n % 2].clone())));
    for built in join_all(builds).await {
        drop(built.unwrap().unwrap());
    }
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind IN ('r', 'p')";
    assert_eq!(database.value(tables).await, "10");
    assert_eq!(database.value("SELECT array_agg(version) FROM poa_version").await, "{1}");
}

#[tokio::test]
async fn names_may_hold_anything_and_prefixes_keep_hosts_apart() {
    let mut subject = Subject::with(|config| config.table_prefix("Robert\"); DROP TABLE ' ")).await;
    let mut other = subject.another(|config| config.table_prefix("")).await.unwrap();
    let batch = subject.batch(3);
    subject.store(&batch).await;
    other.metrics_received(&batch[..1]).await.unwrap();
    assert_eq!(subject.counts().await, [0, 0, 1]);
    assert_eq!(
        subject.database.value("SELECT count(*) FROM \"Robert\"\"); DROP TABLE ' metrics\"").await,
        "3"
    );
}

#[tokio::test]
async fn tables_of_others_are_left_alone() {
    let database = Database::shared().await;
    database
        .execute(&format!("CREATE SCHEMA \"{}\"; CREATE TABLE metrics (n int)", database.schema))
        .await;
    let error = unavailable(database.config()).await;
    assert!(error.contains("has tables of the same names that poa did not create; name another `schema` or a `table_prefix`"), "{error}");
    build(database.config().table_prefix("poa_")).await.unwrap();
}

#[tokio::test]
async fn tables_are_recognised_without_their_version() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(3);
    subject.store(&batch[..1]).await;
    for lost in
        ["DROP TABLE poa_version", "DELETE FROM poa_version", "DROP TABLE poa_version, eth_stats"]
    {
        subject.database.execute(lost).await;
        subject.crash().await;
        assert_eq!(subject.database.value("SELECT version FROM poa_version").await, "1");
    }
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 3]);
    // A column is missing, so it may belong to another application.
    subject
        .database
        .execute("DROP TABLE poa_version; ALTER TABLE metrics DROP COLUMN data_type")
        .await;
    let error = unavailable(subject.database.config()).await;
    assert!(error.contains("that poa did not create"), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_during_the_tls_handshake_is_retried() {
    for reset in [false, true] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://me@{}/stats?sslmode=require", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"S").await.unwrap();
            // If it is closed with unread data, a connection is reset.
            stream.readable().await.unwrap();
            if !reset {
                stream.shutdown().await.unwrap();
                while stream.read(&mut [0; 1024]).await.unwrap() > 0 {}
            }
        };
        let (error, ()) = tokio::join!(unavailable(Config::new(url)), server);
        assert!(error.contains("is the server running"), "{error}");
    }
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let subject = Subject::new().await;
    subject.database.execute("UPDATE poa_version SET version = 7").await;
    let error = unavailable(subject.database.config()).await;
    assert!(error.contains("were created by a newer poa (version 7, this one knows 1)"), "{error}");
}

#[tokio::test]
async fn tables_that_are_not_divided_are_divided_by_a_command() {
    let subject = Subject::new().await;
    let error = unavailable(subject.database.config().partition(Period::Day)).await;
    assert!(
        error.contains("are not divided by time; divide them with `poa-server db partition`"),
        "{error}"
    );
    // Divided since the configuration was written, they are used as they are.
    let subject = Subject::with(|config| config.partition(Period::Month)).await;
    let mut plain = build(subject.database.config()).await.unwrap();
    plain.metrics_received(&Subject::new().await.batch(2)).await.unwrap();
    assert_eq!(subject.counts().await, [0, 0, 2]);
}

#[tokio::test]
async fn a_missing_server_is_retried() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = unavailable(Config::new(format!("postgres://me:hunter2@{free}/stats"))).await;
    let wanted =
        format!("postgres://me@{free}/stats: error connecting to server: Connection refused");
    assert!(error.starts_with(&wanted) && error.contains("is the server running"), "{error}");
    let error = unavailable(Config::new("postgres://me@%2Fnowhere/stats")).await;
    assert!(
        error.starts_with("postgres://me@/nowhere/stats: ") && error.contains("No such file"),
        "{error}"
    );
    let error = unavailable(Config::new("postgres://me@poa.invalid/stats")).await;
    assert!(error.contains("is the server running, and is `url` right?"), "{error}");
}

#[tokio::test]
async fn a_wrong_login_or_database_has_to_be_corrected() {
    let url = poa_test_postgres::shared();
    let (_, place) = url.split_once('@').unwrap();
    let error = unavailable(Config::new(format!("postgres://postgres:wrong@{place}"))).await;
    assert!(
        error.contains("password authentication failed")
            && error.contains("check user and password"),
        "{error}"
    );
    let error = unavailable(Config::new(with_database(&url, "poa_nowhere"))).await;
    assert!(
        error.contains(
            "database \"poa_nowhere\" does not exist (SQLSTATE 3D000); create the database"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_only_reads_may_become_the_primary() {
    let database = Database::shared().await;
    let url = with_option(&database.url, "options=-c%20default_transaction_read_only%3Don");
    let error = unavailable(Config::new(url).schema(&database.schema)).await;
    assert!(error.contains("(SQLSTATE 25006); name the primary server in `url`"), "{error}");
}

#[tokio::test]
async fn a_missing_privilege_is_named() {
    let database = Database::shared().await;
    let role = format!("poa_{}", uuid::Uuid::new_v4().simple());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'")).await;
    let (_, place) = database.url.split_once('@').unwrap();
    let config = Config::new(format!("postgres://{role}:p@{place}")).schema(&database.schema);
    let error = unavailable(config).await;
    database.execute(&format!("DROP ROLE {role}")).await;
    assert!(error.contains("(SQLSTATE 42501); grant the user CREATE"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let url = poa_test_postgres::shared();
    let name = format!("poa_{}", uuid::Uuid::new_v4().simple());
    let admin = connect(&url).await;
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
        ))
        .await
        .unwrap();
    let error = unavailable(Config::new(with_database(&url, &name))).await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    assert!(
        error.contains("has the encoding SQL_ASCII; create it with `createdb --encoding=UTF8"),
        "{error}"
    );
}
