//! Rows that are too old are removed while new ones are stored.

use std::time::Duration;

use poa_core::{BuildContext, Draft, Message, Plugin, Receiver, ReceiverContext, Timestamp};
use poa_receiver_sqlite::{Config, Sqlite};
use rusqlite::Connection;
use rusqlite::types::Value::Integer;

use crate::common::{Subject, count, rows, text};

const DAY: u64 = 24 * 60 * 60;
/// The time limit of each wait.
const PATIENCE: Duration = Duration::from_secs(300);

fn month() -> Config {
    Config::default().retention(Duration::from_secs(30 * DAY))
}

/// Fills `metrics` with rows of 2 KB, one per hour back from now.
fn fill(database: &Connection, hours: u32) {
    let fill = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
        INSERT INTO metrics SELECT 'id-' || i, strftime('%Y-%m-%dT%H:%M:%f', 'now', '-' || i || ' hours') || '000Z',
            'a' || (i % 50), 'networking_metrics', NULL, hex(zeroblob(1000)) FROM n";
    database.execute(fill, [hours]).unwrap();
}

/// Waits until a query returns this.
async fn until(database: &Connection, query: &str, wanted: i64) {
    let value = || database.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    let waiting = async {
        while value() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(in_time.is_ok(), "{query}: {} and not {wanted}", value());
}

/// A receiver that a host has started.
async fn started(config: Config, cx: &BuildContext) -> Sqlite {
    let mut receiver = Sqlite::build(config, cx).await.unwrap();
    receiver.start(ReceiverContext::detached(cx)).await.unwrap();
    receiver
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_removed_while_new_ones_are_stored() {
    let mut subject = Subject::with(Config::default()).await;
    // Half an hour of margin on each side.
    fill(&subject.database(), 100 * 24);
    let mut receiver = started(month(), &subject.cx).await;
    let new: Vec<_> = (0..50)
        .map(|_| {
            let old = subject.samples.json("new", "networking_metrics", "{}");
            let draft =
                Draft::new(old.agent_id().clone(), old.data_type().clone(), old.payload().clone());
            Message::stamp(draft, old.id(), Timestamp::now())
        })
        .collect();
    for message in &new {
        receiver.metrics_received(std::slice::from_ref(message)).await.unwrap();
    }
    let kept = "SELECT count(*) FROM metrics WHERE agent_id <> 'new'";
    until(&subject.database(), kept, 30 * 24).await;
    assert_eq!(count(&subject.database(), "metrics"), 30 * 24 + 50);
    let metrics = || subject.cx.telemetry().encode();
    let removed = format!(
        "poa_receiver_expired_rows_total{{receiver=\"local\",table=\"metrics\"}} {}",
        70 * 24
    );
    assert!(metrics().contains(&removed), "{}", metrics());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_releases_the_space_of_old_rows() {
    let subject = Subject::with(Config::default()).await;
    let database = subject.database();
    fill(&database, 200 * 24);
    let before = rows(&database, "PRAGMA page_count")[0][0].clone();
    let _receiver = started(month(), &subject.cx).await;
    until(&database, "SELECT count(*) FROM metrics", 30 * 24).await;
    let spare = "SELECT freelist_count <= 1024 OR freelist_count * 4 <= page_count FROM pragma_freelist_count, pragma_page_count";
    until(&database, spare, 1).await;
    let after = rows(&database, "PRAGMA page_count")[0][0].clone();
    let (Integer(before), Integer(after)) = (before, after) else { panic!("not numbers") };
    assert!(after < before * 2 / 3, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_earlier_version_gets_its_indexes() {
    let subject = Subject::with(Config::default()).await;
    let database = subject.database();
    let names = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'poa\\_%' ESCAPE '\\'";
    assert_eq!(rows(&database, names), [[Integer(6)]]);
    let all = rows(
        &database,
        "SELECT group_concat('DROP INDEX ' || name, '; ') FROM sqlite_schema WHERE name LIKE 'poa%'",
    );
    let rusqlite::types::Value::Text(drop) = &all[0][0] else { panic!("{all:?}") };
    database.execute_batch(drop).unwrap();
    fill(&database, 40 * 24);
    let _receiver = started(month(), &subject.cx).await;
    until(&database, names, 6).await;
    until(&database, "SELECT count(*) FROM metrics", 30 * 24).await;
    let plan = rows(
        &database,
        "EXPLAIN QUERY PLAN SELECT body FROM metrics WHERE agent_id = 'a1' AND date > '2026' ORDER BY date",
    );
    assert_eq!(
        plan[0][3],
        text("SEARCH metrics USING INDEX poa_metrics_agent (agent_id=? AND date>?)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_the_oldest_row_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let cx = BuildContext::detached("local", dir.path());
    drop(Sqlite::build(Config::default(), &cx).await.unwrap());
    let database = Connection::open(dir.path().join("metrics.db")).unwrap();
    database
        .execute_batch("INSERT INTO system_stats (message_id, date, agent_id) VALUES ('x', '2026-01-31T12:00:00.000001Z', 'a')")
        .unwrap();
    let _receiver = started(Config::default(), &cx).await;
    let wanted = [
        "poa_receiver_oldest_row_timestamp_seconds{receiver=\"local\",table=\"system_stats\"} 1769860800\n",
        "poa_receiver_oldest_row_timestamp_seconds{receiver=\"local\",table=\"metrics\"} 0\n",
    ];
    let waiting = async {
        let bytes = "poa_receiver_database_bytes{receiver=\"local\"} 0\n";
        let measured =
            |text: String| wanted.iter().all(|line| text.contains(line)) && !text.contains(bytes);
        while !measured(cx.telemetry().encode()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(in_time.is_ok(), "{}", cx.telemetry().encode());
    assert!(
        !cx.telemetry().encode().contains("poa_receiver_database_bytes{receiver=\"local\"} 0\n")
    );
}
