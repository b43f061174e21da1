//! PgBouncer in transaction mode, as in <https://github.com/rust-postgres/rust-postgres/issues/959>.

use poa_core::{Plugin as _, Receiver as _};
use poa_receiver_postgres::{Config, Postgres};
use poa_test_postgres::{Bouncer, Cluster, Setup};
use tokio_postgres::Client;

use crate::common::{Database, Subject, connect, permanent};

struct Pool {
    _bouncer: Bouncer,
    cluster: Cluster,
    /// A URL of the database through the pooler.
    url: String,
}

impl Pool {
    fn start() -> Self {
        let cluster = Cluster::start(Setup::default().tcp().set("max_connections=40")).unwrap();
        let bouncer = Bouncer::start(&cluster, "postgres").unwrap();
        let direct = format!(":{}/", cluster.port().unwrap());
        let url = cluster.url("postgres").replace(&direct, &format!(":{}/", bouncer.port()));
        Self { _bouncer: bouncer, cluster, url }
    }

    /// A receiver that stores through the pooler, seen by a client that does not.
    async fn subject(&self, change: impl FnOnce(Config) -> Config) -> Subject {
        let database = Database::at(&self.cluster.url("postgres")).await;
        let config = change(Config::new(&self.url).schema(&database.schema));
        Subject::at(database, config).await
    }
}

/// Other clients of the pool, each of which takes another connection of the server while it is in a transaction.
async fn others(pool: &Pool) -> Vec<Client> {
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(connect(&pool.url).await);
    }
    others
}

#[tokio::test]
async fn every_batch_is_stored_immediately_whatever_connection_it_gets() {
    let pool = Pool::start();
    let others = others(&pool).await;
    let mut subject =
        pool.subject(|config| config.partition(poa_receiver_postgres::Period::Day)).await;
    for n in 0..40 {
        let busy = &others[n % 3];
        busy.batch_execute("BEGIN; SELECT 1").await.unwrap();
        let mut batch = subject.batch(3);
        batch.push(subject.samples.json(
            "a2",
            "system_metrics",
            r#"{"type":"statistics","body":{}}"#,
        ));
        // The first that fails is one too many.
        subject.store(&batch).await;
        busy.batch_execute("COMMIT").await.unwrap();
    }
    assert_eq!(subject.counts().await, [0, 40, 120]);
    assert_eq!(subject.database.value("SELECT count(*) FROM agent_activity").await, "2");
}

#[tokio::test]
async fn nothing_is_left_on_the_connections_of_the_pool() {
    let pool = Pool::start();
    let mut subject = pool.subject(|config| config).await;
    let batch = subject.batch(3);
    subject.store(&batch).await;
    // Stored already, so the pool sees a failed transaction, too.
    subject.store(&batch).await;
    subject.receiver.terminate().await;
    let watcher = connect(&pool.url).await;
    for _ in 0..8 {
        let left = "SELECT concat_ws(' ', current_setting('timezone'), current_setting('statement_timeout'),
            current_setting('client_min_messages'), current_setting('idle_in_transaction_session_timeout'),
            (SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%poa%'))";
        let rows = watcher.simple_query(left).await.unwrap();
        let tokio_postgres::SimpleQueryMessage::Row(row) = &rows[1] else { panic!("{rows:?}") };
        let text = row.get(0).unwrap();
        assert!(text.ends_with(" 0 notice 0 0"), "{text}");
    }
}

#[tokio::test]
async fn a_refused_message_is_named_through_a_pooler_as_well() {
    let pool = Pool::start();
    let mut subject = pool.subject(|config| config).await;
    let batch = subject.batch(20);
    subject
        .database
        .execute("ALTER TABLE metrics ADD CHECK ((body ->> 'latency')::int <> 7)")
        .await;
    let (items, why) = permanent(subject.receiver.metrics_received(&batch).await);
    assert_eq!(items, [7], "{why}");
    let rest = [&batch[..7], &batch[8..]].concat();
    subject.store(&rest).await;
    assert_eq!(subject.counts().await, [0, 0, 19]);
}

#[tokio::test]
async fn a_restarted_host_does_not_collide_with_earlier_statements() {
    let pool = Pool::start();
    let mut subject = pool.subject(|config| config).await;
    let batch = subject.batch(6);
    for part in batch.chunks(2) {
        let config = Config::new(&pool.url).schema(&subject.database.schema);
        let mut receiver = Postgres::build(config, &subject.cx).await.unwrap();
        receiver.metrics_received(part).await.unwrap();
        subject.crash().await;
    }
    assert_eq!(subject.counts().await, [0, 0, 6]);
}
