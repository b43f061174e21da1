//! Failures of the database.

use poa_core::{Message, Receiver};

use crate::common::{Database, Subject, permanent, transient, with_option};
use crate::proxy::{Proxy, Way};

/// A trigger that refuses some messages.
const PICKY: &str = "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'picky' USING ERRCODE = TG_ARGV[0]; END $$;
    CREATE TRIGGER picky BEFORE INSERT ON metrics FOR EACH ROW
        WHEN ((new.body ->> 'latency')::int IN (1, 3)) EXECUTE FUNCTION picky";

#[tokio::test]
async fn missing_tables_are_created_again() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(6);
    subject.store(&batch[..2]).await;
    subject.database.execute("DROP TABLE metrics").await;
    subject.store(&batch[2..4]).await;
    assert_eq!(subject.counts().await, [0, 0, 2]);
    subject
        .database
        .execute("DROP TABLE eth_stats, system_stats, metrics, agent_activity, poa_version")
        .await;
    subject.store(&batch[4..]).await;
    assert_eq!(subject.counts().await, [0, 0, 2]);
    subject.database.execute(&format!("DROP SCHEMA \"{}\" CASCADE", subject.database.schema)).await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 6]);
    assert_eq!(subject.database.value("SELECT count(*) FROM agent_activity").await, "1");
}

#[tokio::test]
async fn a_missing_table_of_activity_is_created_again() {
    let mut subject = Subject::new().await;
    subject.database.execute("DROP TABLE agent_activity").await;
    let agent = poa_core::AgentId::new("a1").unwrap();
    let change = [poa_core::Activity::new(agent, false, poa_core::Timestamp::now())];
    subject.receiver.handle_inactive(&change).await.unwrap();
    assert_eq!(subject.database.value("SELECT active FROM agent_activity").await, "f");
}

#[tokio::test]
async fn a_column_changed_by_hand_costs_no_message() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(2);
    for change in [
        [
            "ALTER TABLE metrics ALTER COLUMN date TYPE date",
            "ALTER TABLE metrics ALTER COLUMN date TYPE timestamptz",
        ],
        [
            "ALTER TABLE metrics RENAME COLUMN body TO data",
            "ALTER TABLE metrics RENAME COLUMN data TO body",
        ],
    ] {
        subject.database.execute(change[0]).await;
        let error = transient(subject.receiver.metrics_received(&batch).await);
        assert!(error.contains("if tables were changed by hand, change them back"), "{error}");
        subject.database.execute(change[1]).await;
    }
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 2]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_retried() {
    // Long enough for everything else that this test waits for.
    let timeout = std::time::Duration::from_secs(2);
    let mut subject = Subject::with(|config| config.statement_timeout(timeout)).await;
    let batch = subject.batch(3);
    subject.database.execute("BEGIN; LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE").await;
    let error = transient(subject.receiver.metrics_received(&batch).await);
    assert!(
        error.contains("statement timeout (SQLSTATE 57014); raise `statement_timeout`"),
        "{error}"
    );
    subject.database.execute("COMMIT").await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 3]);
}

#[tokio::test]
async fn messages_that_the_database_refuses_are_named() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(100);
    subject.database.execute(&format!("{PICKY}('23514')")).await;
    let (items, error) = permanent(subject.receiver.metrics_received(&batch).await);
    assert_eq!(items, [1, 3]);
    assert!(
        error.contains("cannot hold the message") && error.contains("picky (SQLSTATE 23514)"),
        "{error}"
    );
    assert_eq!(subject.counts().await, [0, 0, 0]);
    let rest: Vec<_> = batch
        .iter()
        .enumerate()
        .filter(|(n, _)| ![1, 3].contains(n))
        .map(|(_, m)| m.clone())
        .collect();
    subject.store(&rest).await;
    // One that is refused, and others that are stored already.
    let (items, _) = permanent(subject.receiver.metrics_received(&batch[..4]).await);
    assert_eq!(items, [1, 3]);
    assert_eq!(subject.counts().await, [0, 0, 98]);
}

#[tokio::test]
async fn rows_that_are_stored_already_are_never_refused() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(100);
    // COPY checks this before it searches the index, unlike a trigger's `RAISE`.
    let constraint = "ALTER TABLE metrics ADD CHECK (body ->> 'latency' <> '60')";
    subject.database.execute(constraint).await;
    subject.store(&batch[..50]).await;
    let (items, error) = permanent(subject.receiver.metrics_received(&batch).await);
    assert_eq!(items, [60]);
    assert!(error.contains("(SQLSTATE 23514)"), "{error}");
    subject.store(&batch[..60]).await;
    subject.store(&batch[61..]).await;
    assert_eq!(subject.counts().await, [0, 0, 99]);
}

#[tokio::test]
async fn an_additional_required_column_costs_no_message() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(3);
    subject.database.execute("ALTER TABLE metrics ADD COLUMN theirs text NOT NULL").await;
    for batch in [&batch[..1], &batch] {
        let error = transient(subject.receiver.metrics_received(batch).await);
        assert!(error.contains("(SQLSTATE 23502); if tables were changed by hand"), "{error}");
    }
    subject.database.execute("ALTER TABLE metrics ALTER COLUMN theirs SET DEFAULT ''").await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 3]);
}

#[tokio::test]
async fn a_table_that_refuses_every_row_costs_no_message() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(100);
    for (fault, mend) in [
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
            CREATE TRIGGER no BEFORE INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION no()",
            "DROP TRIGGER no ON metrics",
        ),
        (
            "ALTER TABLE metrics ALTER COLUMN type TYPE varchar(3)",
            "ALTER TABLE metrics ALTER COLUMN type TYPE text",
        ),
        (
            "ALTER TABLE metrics ADD CONSTRAINT no CHECK (type IS NULL) NOT VALID",
            "ALTER TABLE metrics DROP CONSTRAINT no",
        ),
    ] {
        subject.database.execute(fault).await;
        let statistics = subject.samples.json("a1", "system_metrics", r#"{"type":"statistics","body":{}}"#);
        let mixed = [&[statistics], &batch[..]].concat();
        let error = transient(subject.receiver.metrics_received(&mixed).await);
        assert!(
            error.contains("the last 100 rows for `metrics` were all refused: ")
                && error.contains("the messages wait, because the table seems to be at fault"),
            "{error}"
        );
        subject.database.execute(mend).await;
    }
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 100]);
}

#[tokio::test]
async fn single_messages_wait_as_well_if_the_table_refuses_every_row() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(12);
    subject.database.execute("ALTER TABLE metrics ADD CONSTRAINT no CHECK (false)").await;
    for message in batch.chunks(1).take(9) {
        assert_eq!(permanent(subject.receiver.metrics_received(message).await).0, [0]);
    }
    for _ in 0..2 {
        let error = transient(subject.receiver.metrics_received(&batch[9..10]).await);
        assert!(error.contains("rows for `metrics` were all refused"), "{error}");
    }
    subject.database.execute("ALTER TABLE metrics DROP CONSTRAINT no").await;
    subject.store(&batch[9..]).await;
    // Once a row was accepted, the next refused one is to blame itself again.
    subject.database.execute("ALTER TABLE metrics ADD CONSTRAINT no CHECK (false) NOT VALID").await;
    assert_eq!(permanent(subject.receiver.metrics_received(&batch[..1]).await).0, [0]);
}

#[tokio::test]
async fn a_deferred_constraint_identifies_its_rows_too() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(4);
    subject.database.execute("ALTER TABLE metrics ADD CONSTRAINT own UNIQUE (agent_id) DEFERRABLE INITIALLY DEFERRED").await;
    let (items, _) = permanent(subject.receiver.metrics_received(&batch).await);
    assert_eq!(items, [1, 2, 3]);
    subject.store(&batch[..1]).await;
    assert_eq!(subject.counts().await, [0, 0, 1]);
}

#[tokio::test]
async fn the_server_probes_a_silent_host() {
    let mut subject =
        Subject::with(|config| config.statement_timeout(std::time::Duration::from_secs(20))).await;
    let settings = [
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
        "idle_in_transaction_session_timeout",
    ];
    // The settings of the receiver's own session.
    let settings = settings.map(|name| format!("current_setting('{name}')")).join(" || ' ' || ");
    subject
        .database
        .execute(&format!("ALTER TABLE metrics ADD COLUMN seen text DEFAULT {settings}"))
        .await;
    let batch = subject.batch(1);
    subject.store(&batch).await;
    let seen = subject.database.value("SELECT seen FROM metrics").await;
    let by_socket = subject.database.url.contains("@%2F");
    let wanted = if by_socket { "0 0 0 0 20s" } else { "10 5 3 25000 20s" };
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn an_index_of_the_operator_can_refuse_messages() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(4);
    subject
        .database
        .execute(
            "CREATE UNIQUE INDEX ON metrics ((body ->> 'latency')) WHERE body ->> 'latency' = '2'",
        )
        .await;
    subject.store(&batch).await;
    let mut more = subject.batch(4);
    more.insert(0, batch[0].clone());
    let (items, _) = permanent(subject.receiver.metrics_received(&more).await);
    assert_eq!(items, [3]);
}

#[tokio::test]
async fn a_full_disk_is_a_transient_error() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(4);
    // The error of a server with a full disk, raised by a trigger. `outage` has a disk that is really full.
    subject.database.execute(&format!("{PICKY}('53100')")).await;
    let error = transient(subject.receiver.metrics_received(&batch).await);
    assert!(error.contains("(SQLSTATE 53100); free space on the disk of the server"), "{error}");
    subject.database.execute("DROP TRIGGER picky ON metrics").await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 4]);
}

#[tokio::test]
async fn all_other_server_errors_are_retried() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(4);
    subject.database.execute(&format!("{PICKY}('57014')")).await;
    for (code, cure) in [
        ("40001", "another transaction conflicted with this one"),
        ("40P01", "another transaction conflicted with this one"),
        ("55P03", "end what holds the tables locked"),
        ("25006", "name the primary server"),
        ("42501", "grant the user"),
        ("53300", "raise `max_connections`"),
        ("08006", "will be restored"),
        ("XX000", "see the log of the server"),
    ] {
        let again =
            format!("DROP TRIGGER picky ON metrics; DROP FUNCTION picky; {PICKY}('{code}')");
        subject.database.execute(&again).await;
        let error = transient(subject.receiver.metrics_received(&batch).await);
        assert!(error.contains(&format!("(SQLSTATE {code})")) && error.contains(cure), "{error}");
    }
    subject.database.execute("DROP TRIGGER picky ON metrics").await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 4]);
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_restored() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(4);
    subject.store(&batch[..2]).await;
    end_idle(&subject.database).await;
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 4]);
}

/// Ends the connection of the receiver.
async fn end_idle(database: &Database) {
    let end =
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1";
    let ended = database.client.query(end, &[&database.id]).await.unwrap();
    assert_eq!(ended.len(), 1);
}

#[tokio::test]
async fn a_connection_cut_anywhere_loses_and_duplicates_nothing() {
    let shared = Database::shared().await;
    let server = shared.url.split_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(server.clone()).await;
    let through = shared.url.replace(&server, &format!("127.0.0.1:{}", proxy.port));
    // So that the proxy recognises the maintenance connection by its first message.
    let through = with_option(&through, "sslmode=disable&application_name=poa");
    let config = poa_receiver_postgres::Config::new(&through).schema(&shared.schema);
    let mut subject = Subject::at(shared, config).await;
    let mut sent = 0;
    for way in [Way::ToServer, Way::FromServer] {
        // Once the agent is known to be active, as it is in each batch that is cut below.
        let batch = mixed(&mut subject);
        subject.store(&batch).await;
        let before = proxy.passed(way);
        let another = mixed(&mut subject);
        subject.store(&another).await;
        sent += (batch.len() + another.len()) as u64;
        let whole = proxy.passed(way) - before;
        for cut in 0..12 {
            let batch = mixed(&mut subject);
            proxy.cut_after(way, (whole * cut / 12).max(1));
            let error = transient(subject.receiver.metrics_received(&batch).await);
            assert!(error.contains("the connection was lost and will be restored"), "{error}");
            subject.store(&batch).await;
            sent += batch.len() as u64;
        }
    }
    assert_eq!(subject.counts().await.iter().sum::<u64>(), sent);
    let unique = "SELECT count(DISTINCT message_id) FROM
        (SELECT message_id FROM eth_stats UNION ALL SELECT message_id FROM system_stats UNION ALL SELECT message_id FROM metrics) AS all_of_them";
    assert_eq!(subject.database.value(unique).await, sent.to_string());
}

/// Messages for all tables.
fn mixed(subject: &mut Subject) -> Vec<Message> {
    let statistics = r#"{"type":"statistics","body":{}}"#;
    let kinds = [
        ("ethereum_metrics", statistics),
        ("system_metrics", statistics),
        ("networking_metrics", "{}"),
    ];
    (0..300).map(|n| subject.samples.json("a1", kinds[n % 3].0, kinds[n % 3].1)).collect()
}

#[tokio::test]
async fn two_hosts_that_store_the_same_messages_at_once_store_them_once() {
    let mut subject = Subject::new().await;
    let mut other = subject.another(|config| config).await.unwrap();
    for _ in 0..10 {
        let batch = mixed(&mut subject);
        let (one, two) =
            tokio::join!(subject.receiver.metrics_received(&batch), other.metrics_received(&batch));
        one.unwrap();
        two.unwrap();
    }
    assert_eq!(subject.counts().await, [1000, 1000, 1000]);
}

#[tokio::test]
async fn terminate_closes_the_connection() {
    let mut subject = Subject::new().await;
    let batch = subject.batch(2);
    subject.store(&batch).await;
    subject.receiver.terminate().await;
    subject.receiver.terminate().await;
    // A host would not do so.
    subject.store(&batch).await;
    assert_eq!(subject.counts().await, [0, 0, 2]);
}
