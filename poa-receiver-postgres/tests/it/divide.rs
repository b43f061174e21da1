//! Tables that are divided while hosts store in them.

use std::time::Duration;

use poa_receiver_postgres::{Period, divide};

use crate::common::{PATIENCE, Subject};

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

#[tokio::test]
async fn a_table_becomes_the_first_part_of_a_divided_one() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(10);
    subject.store(&batch[..5]).await;
    let role = format!("poa_{}", uuid::Uuid::new_v4().simple());
    subject
        .database
        .execute(&format!("CREATE ROLE {role}; GRANT SELECT ON metrics TO {role}"))
        .await;
    let mut said = Vec::new();
    divide(&subject.database.config(), |line| said.push(line.to_owned())).await.unwrap();
    assert!(
        said.iter().any(|line| line.starts_with("metrics: divided; its rows until ")),
        "{said:?}"
    );
    // The same host continues, and knows what is stored.
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 10]);
    let granted = format!("SELECT has_table_privilege('{role}', 'metrics', 'SELECT')");
    assert_eq!(subject.database.value(&granted).await, "t");
    let kinds = "SELECT string_agg(relkind::text, '') FROM pg_class WHERE oid IN ('eth_stats'::regclass, 'system_stats'::regclass, 'metrics'::regclass)";
    assert_eq!(subject.database.value(kinds).await, "ppp");

    let month = Duration::from_secs(30 * 24 * 60 * 60);
    let old = "INSERT INTO metrics (message_id, date, agent_id, data_type, body) VALUES (gen_random_uuid(), now() - interval '40 days', 'old', 'x', '{}')";
    subject.database.execute(old).await;
    subject.database.execute("UPDATE metrics SET date = now() WHERE agent_id <> 'old'").await;
    // From the first part, old rows are removed one by one, until the part is dropped whole.
    let _divided =
        subject.another(|config| config.partition(Period::Day).retention(month)).await.unwrap();
    until(&subject, "SELECT count(*) FROM metrics WHERE agent_id = 'old'", "0").await;
    assert_eq!(subject.counts().await, [0, 0, 10]);
    divide(&subject.database.config(), |line| said.push(line.to_owned())).await.unwrap();
    assert_eq!(said.last().map(String::as_str), Some("metrics: divided already"));
    subject.database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Dropped after each of its messages, and after each of its waits: wherever it stops, the tables work, and the next run completes
/// it.
#[tokio::test]
async fn the_command_may_be_interrupted_anywhere() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(40);
    let mut stored = 0;
    for waits in (1..).step_by(3) {
        let config = subject.database.config();
        let dividing = divide(&config, |_| {});
        let mut polls = 0;
        let cut = std::pin::pin!(dividing);
        let mut cut = cut;
        let ended = std::future::poll_fn(|cx| {
            polls += 1;
            if polls > waits {
                return std::task::Poll::Ready(None);
            }
            cut.as_mut().poll(cx).map(Some)
        });
        let ended = ended.await;
        if stored < batch.len() {
            subject.store(&batch[stored..=stored]).await;
            stored += 1;
        }
        if let Some(result) = ended {
            result.unwrap();
            break;
        }
    }
    assert_eq!(subject.counts().await, [0, 0, stored as u64]);
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 40]);
    let left = "SELECT count(*) FROM pg_constraint WHERE conname = 'poa_boundary' AND connamespace = quote_ident(current_schema())::regnamespace";
    assert_eq!(subject.database.value(left).await, "0");
}

#[tokio::test]
async fn the_constraint_of_an_interrupted_run_is_removed() {
    let subject = Subject::new().await;
    subject
        .database
        .execute(
            "ALTER TABLE metrics ADD CONSTRAINT poa_boundary CHECK (date < '2020-01-01') NOT VALID",
        )
        .await;
    let _another = subject.another(|config| config).await.unwrap();
    let left = "SELECT count(*) FROM pg_constraint WHERE conname = 'poa_boundary' AND connamespace = quote_ident(current_schema())::regnamespace";
    until(&subject, left, "0").await;
}

#[tokio::test]
async fn dependents_that_would_miss_rows_are_named() {
    let subject = Subject::new().await;
    subject.database.execute("CREATE VIEW latest AS SELECT * FROM metrics").await;
    let error = divide(&subject.database.config(), |_| {}).await.unwrap_err().to_string();
    assert!(
        error.contains("`metrics` has dependents that would miss new rows: view ")
            && error.contains("latest"),
        "{error}"
    );
    assert!(error.contains("the command can be run again"), "{error}");
}
