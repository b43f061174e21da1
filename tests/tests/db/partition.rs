//! `poa-server db partition` on a real PostgreSQL, while a server stores.

use poa_test_postgres::{Cluster, Setup};
use poa_tests::{Agents, Home, METRICS, Server, soon};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_postgres::{Client, NoTls};

use super::{db, outcome};

/// Rows enough for each step to take a moment.
const FILL: &str = "INSERT INTO metrics (message_id, date, agent_id, data_type, body)
    SELECT gen_random_uuid(), now() - n * interval '1 second', 'old', 'x', '{}' FROM generate_series(1, 100000) n";

fn config(cluster: &Cluster) -> String {
    let url = cluster.url("postgres");
    let retry = "retry = { initial = \"10ms\", max = \"100ms\" }";
    format!(
        "[receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = {METRICS:?}\n{retry}\n"
    )
}

async fn connect(cluster: &Cluster) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&cluster.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Kills a run after so many of its lines; true when it has ended before.
async fn cut_after(home: &Home, lines: usize) -> bool {
    let mut command = db(home.path(), &["partition", "store"]);
    let mut run = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap()).lines();
    for _ in 0..lines {
        if soon("a line", output.next_line()).await.unwrap().is_none() {
            let ended = soon("the end", run.wait()).await.unwrap();
            assert_eq!(ended.code(), Some(0));
            return true;
        }
    }
    soon("it is gone", run.kill()).await.unwrap();
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_divided_under_load_by_runs_that_are_killed() {
    let cluster = Cluster::start(Setup::default()).unwrap();
    let home = Home::with(&config(&cluster));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let client = connect(&cluster).await;
    client.batch_execute(FILL).await.unwrap();
    let agents = Agents::start(&server, 4, &token);

    let mut killed = 0;
    while !cut_after(&home, killed + 1).await {
        killed += 1;
        assert!(killed < 50, "it does not come to its end");
    }
    assert!(killed > 3, "killed {killed} times only");
    let (code, out, errors) = outcome(home.path(), &["partition", "store"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(out.matches("divided already").count(), 3, "{out}");

    let acknowledged = i64::try_from(agents.stop().await).unwrap();
    server.drained("store").await;
    server.stop().await;
    let divided = "SELECT count(*) FROM pg_class WHERE relkind = 'p' AND relname IN ('eth_stats', 'system_stats', 'metrics')";
    assert_eq!(number(&client, divided).await, 3);
    let left = "SELECT count(*) FROM pg_constraint WHERE conname = 'poa_boundary'";
    assert_eq!(number(&client, left).await, 0);
    assert_eq!(number(&client, "SELECT count(*) FROM metrics").await, 100_000 + acknowledged);
    let distinct = "SELECT count(DISTINCT message_id) FROM metrics";
    assert_eq!(number(&client, distinct).await, 100_000 + acknowledged);
}

#[tokio::test]
async fn a_table_that_another_session_reads_is_divided_afterwards() {
    let cluster = Cluster::start(Setup::default()).unwrap();
    let home = Home::with(&config(&cluster));
    let server = Server::start(&home).await;
    let mut client = connect(&cluster).await;
    let report = client.transaction().await.unwrap();
    report.batch_execute("SELECT count(*) FROM metrics").await.unwrap();

    let mut command = db(home.path(), &["partition", "store"]);
    let mut run = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap()).lines();
    loop {
        let line = soon("a line", output.next_line()).await.unwrap().expect("it continues");
        if line.contains("metrics: another session is in the way") {
            break;
        }
    }
    report.commit().await.unwrap();
    while soon("a line", output.next_line()).await.unwrap().is_some() {}
    assert_eq!(soon("the end", run.wait()).await.unwrap().code(), Some(0));
    server.stop().await;
}

#[tokio::test]
async fn a_receiver_that_cannot_be_divided_is_named() {
    let home = Home::new();
    let (code, _, errors) = outcome(home.path(), &["partition", "local"]).await;
    assert!(code == Some(1) && errors.contains("receivers.local is not of kind"), "{errors}");
    let (code, _, errors) = outcome(home.path(), &["partition", "store"]).await;
    assert!(code == Some(1) && errors.contains("no [receivers.store]"), "{errors}");
}
