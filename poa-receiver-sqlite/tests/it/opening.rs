//! Opens, creates and migrates the database, and refuses files that are not one.

use std::path::Path;
use std::time::Duration;

use poa_core::{BuildContext, BuildError, Plugin, Registry};
use poa_receiver_sqlite::{Config, Sqlite};
use rusqlite::Connection;
use rusqlite::types::Value::Integer;

use crate::common::{Subject, rows, text};

async fn build(dir: &Path, config: Config) -> Result<Sqlite, BuildError> {
    Sqlite::build(config, &BuildContext::detached("local", dir)).await
}

/// The text of an error that an operator has to fix.
async fn failed(dir: &Path, config: Config) -> String {
    match build(dir, config).await.unwrap_err() {
        BuildError::Failed(message, _) => message,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn creates_the_tables_of_the_contract() {
    let subject = Subject::new().await;
    let expected = [
        ("agent_activity", "agent_id, active, since"),
        (
            "eth_stats",
            "message_id, date, agent_id, active, mining, hashrate, peers, gas_price, current_block, highest_block, starting_block",
        ),
        ("metrics", "message_id, date, agent_id, data_type, type, body"),
        ("system_stats", "message_id, date, agent_id, cpu_load, disk_usage, memory_usage"),
    ];
    let found = subject.rows(
        "SELECT t.name, group_concat(c.name, ', ' ORDER BY c.cid) FROM sqlite_schema t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' GROUP BY t.name ORDER BY t.name",
    );
    assert_eq!(found, expected.map(|(table, columns)| vec![text(table), text(columns)]));
    assert_eq!(subject.row("PRAGMA journal_mode"), [text("wal")]);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_access_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut subject = Subject::new().await;
    subject.store_json("system_metrics", "{}").await;
    for file in std::fs::read_dir(subject.dir.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_programs_may_create_one_database_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let builds: Vec<_> = (0..4)
            .map(|_| {
                let dir = dir.path().to_owned();
                tokio::spawn(async move { build(&dir, Config::default()).await.map(drop) })
            })
            .collect();
        for build in builds {
            build.await.unwrap().unwrap();
        }
        let database = Connection::open(dir.path().join("metrics.db")).unwrap();
        assert_eq!(rows(&database, "PRAGMA user_version"), [[Integer(1)]]);
    }
}

#[tokio::test]
async fn refuses_a_newer_database_and_leaves_it_unchanged() {
    let subject = Subject::new().await;
    subject.database().execute_batch("PRAGMA user_version = 7").unwrap();
    let message = failed(subject.dir.path(), Config::default()).await;
    assert!(message.contains("created by a newer poa (schema 7, this one knows 1)"), "{message}");
    assert_eq!(subject.row("PRAGMA user_version"), [Integer(7)]);
}

#[tokio::test]
async fn refuses_the_database_of_another_application() {
    for theirs in [
        "PRAGMA user_version = 3; CREATE TABLE users (name)",
        "PRAGMA application_id = 42; CREATE TABLE users (name)",
        "CREATE TABLE metrics (name)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        Connection::open(&path).unwrap().execute_batch(theirs).unwrap();
        let message = failed(dir.path(), Config::new("other.db")).await;
        assert!(message.contains("other.db is the database of another application"), "{message}");
        let tables = rows(&Connection::open(&path).unwrap(), "SELECT name FROM sqlite_schema");
        assert_eq!(tables.len(), 1, "{theirs}: {tables:?}");
    }
}

#[tokio::test]
async fn refuses_files_that_are_not_databases_with_path_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let cases = [
        ("folder", "folder is a directory; name a file as `path`"),
        ("missing/metrics.db", "missing/metrics.db; its directory must exist"),
    ];
    for (path, expected) in cases {
        let message = failed(dir.path(), Config::new(path)).await;
        assert!(message.contains(expected), "{message}");
        assert!(message.contains(&dir.path().display().to_string()), "{message}");
    }
}

/// A broken disk, or an overwritten file, must not keep the other receivers of a host from starting.
#[tokio::test]
async fn a_damaged_database_may_be_restored_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = build(dir.path(), Config::default()).await.unwrap();
    poa_core::Receiver::terminate(&mut receiver).await;
    let path = dir.path().join("metrics.db");
    let whole = std::fs::read(&path).unwrap();
    for damage in [0..100, 100..whole.len()] {
        let mut damaged = whole.clone();
        damaged[damage.clone()].fill(0x5a);
        std::fs::write(&path, damaged).unwrap();
        match build(dir.path(), Config::default()).await.unwrap_err() {
            BuildError::Unavailable(message, _) => {
                assert!(message.contains("metrics.db"), "{damage:?}: {message}");
            }
            error => panic!("{damage:?}: {error:?}"),
        }
    }
    std::fs::write(&path, whole).unwrap();
    build(dir.path(), Config::default()).await.unwrap();
}

#[tokio::test]
async fn a_locked_database_may_be_free_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let config = Config::default().busy_timeout(Duration::from_millis(20));
    let error = build(dir.path(), config.clone()).await.unwrap_err();
    assert!(
        matches!(&error, BuildError::Unavailable(m, _) if m.contains("is locked")),
        "{error:?}"
    );
    drop(other);
    build(dir.path(), config).await.unwrap();
}

#[test]
fn a_registry_reads_the_configuration() {
    let registry = Registry::new().receiver::<Sqlite>("sqlite");
    let kind = &registry.receivers()["sqlite"];
    let configure = |json: serde_json::Value| kind.configure(json).map(drop);
    assert_eq!(configure(serde_json::json!({})), Ok(()));
    assert_eq!(configure(serde_json::json!({"path": "a.db", "busy_timeout": "2s"})), Ok(()));
    let problems = configure(serde_json::json!({"path": ""})).unwrap_err();
    assert_eq!(problems[0].path, ["path"]);
    let schema = kind.schema().to_string();
    assert!(
        schema.contains("busy_timeout") && schema.contains("relative to `data_dir`"),
        "{schema}"
    );
}
