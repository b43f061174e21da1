//! Old rows are removed, indexes are created, and both are measured.

use std::time::Duration;

use poa_core::Receiver as _;
use poa_receiver_postgres::Period;

use crate::common::{PATIENCE, Subject};

const DAY: u64 = 24 * 60 * 60;

/// Fills `metrics` with rows, one per hour back from now.
fn fill(hours: u32) -> String {
    format!(
        "INSERT INTO metrics (message_id, date, agent_id, data_type, body)
        SELECT gen_random_uuid(), now() - n * interval '1 hour' - interval '1 minute', 'a' || n % 50, 'networking_metrics', '{{}}'
        FROM generate_series(0, {}) AS n",
        hours - 1
    )
}

/// Waits until a query returns this.
async fn until(subject: &Subject, query: &str, wanted: &str) {
    let waiting = async {
        while subject.database.value(query).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{query}: {} and not {wanted}", subject.database.value(query).await);
    }
}

const VALID: &str = "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND indisvalid AND NOT indisprimary";

#[tokio::test]
async fn old_rows_of_an_undivided_table_are_removed_while_new_ones_are_stored() {
    let mut subject = Subject::new().await;
    subject.database.execute(&fill(100 * 24)).await;
    let retention = Duration::from_secs(30 * DAY);
    let mut keeping = subject.another(|config| config.retention(retention)).await.unwrap();
    for message in subject.batch(50) {
        // Received in 2018, so it is old as well, and is removed again.
        keeping.metrics_received(&[message]).await.unwrap();
    }
    let kept =
        "SELECT count(*) FROM metrics WHERE agent_id <> 'a1' OR date > now() - interval '1 year'";
    until(&subject, kept, &(30 * 24).to_string()).await;
    let waiting = async {
        while subject.counter_of_table("receiver_expired_rows", "metrics") < 70 * 24 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn tables_get_the_indexes_that_queries_need() {
    let subject = Subject::new().await;
    until(&subject, VALID, "6").await;
    // An interrupted index is not valid; it is created again.
    subject
        .database
        .execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'metrics_date_idx'::regclass; DROP INDEX metrics_agent_id_date_idx")
        .await;
    let _another = subject.another(|config| config).await.unwrap();
    until(&subject, VALID, "6").await;
}

#[tokio::test]
async fn divided_tables_of_an_earlier_version_get_them_in_each_part() {
    let mut subject = Subject::with(|config| config.partition(Period::Day)).await;
    let batch = subject.batch(1);
    subject.store(&batch).await;
    // Three tables and a part of each.
    until(&subject, VALID, "12").await;
    subject
        .database
        .execute("DO $$ DECLARE i regclass; BEGIN FOR i IN SELECT indexrelid FROM pg_index JOIN pg_class ON oid = indexrelid
            WHERE relkind = 'I' AND NOT indisprimary AND relnamespace = quote_ident(current_schema())::regnamespace LOOP EXECUTE 'DROP INDEX ' || i; END LOOP; END $$")
        .await;
    until(&subject, VALID, "0").await;
    let _another = subject.another(|config| config).await.unwrap();
    until(&subject, VALID, "12").await;
}

#[tokio::test]
async fn sizes_and_the_oldest_row_are_measured() {
    let subject = Subject::new().await;
    subject
        .database
        .execute("INSERT INTO system_stats (message_id, date, agent_id) VALUES (gen_random_uuid(), '2026-01-31 12:00:00.000001+00', 'a')")
        .await;
    let _another = subject.another(|config| config).await.unwrap();
    let oldest = "poa_receiver_oldest_row_timestamp_seconds{receiver=\"store\",table=\"system_stats\"} 1769860800\n";
    let waiting = async {
        let bytes = "poa_receiver_database_bytes{receiver=\"store\"} 0\n";
        let measured = |text: String| text.contains(oldest) && !text.contains(bytes);
        while !measured(subject.cx.telemetry().encode()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "{}",
        subject.cx.telemetry().encode()
    );
    let text = subject.cx.telemetry().encode();
    let bytes = text
        .lines()
        .find_map(|line| line.strip_prefix("poa_receiver_database_bytes{receiver=\"store\"} "));
    assert!(bytes.unwrap().parse::<u64>().unwrap() >= 8192, "{text}");
}
