//! The real server with a real PostgreSQL that is stopped and crashed under load: what is acknowledged is stored, once.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::pin::pin;

use futures_util::SinkExt as _;
use hyper::body::Bytes;
use poa_test_postgres::{Cluster, Setup};
use poa_tests::{Agents, Home, METRICS, Request, Server, database, sqlite, until};
use rusqlite::types::ValueRef;
use tokio_postgres::NoTls;

const AGENTS: usize = 8;

fn receiver(cluster: &Cluster) -> String {
    let url = cluster.url("postgres");
    format!(
        "[receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = {METRICS:?}\nretry = {{ initial = \"10ms\", max = \"100ms\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_stored_whatever_happens_to_postgres() {
    let mut cluster = Cluster::start(Setup::default()).unwrap();
    let home = Home::with(&receiver(&cluster));
    let server = Server::start(&home).await;
    let token = server.login().await;
    let agents = Agents::start(&server, AGENTS, &token);

    delivered(&server, 1000).await;
    cluster.stop().unwrap();
    retrying(&server).await;
    let backlog =
        until("a backlog", async || Some(backlog(&server).await).filter(|count| *count > 2000))
            .await;
    cluster.resume().unwrap();
    delivered(&server, backlog).await;
    for _ in 0..3 {
        cluster.crash().unwrap();
        cluster.resume().unwrap();
        delivered(&server, 500).await;
    }

    let acknowledged = agents.stop().await;
    server.drained("store").await;
    server.stop().await;
    check(&cluster, acknowledged).await;
    let log = home.log();
    assert!(!log.contains(cluster.password()), "the password is in the log");
    assert!(log.contains("is the server running"), "{log}");
    println!(
        "{acknowledged} messages were acknowledged, all are stored; the backlog had {backlog}"
    );
}

async fn count(server: &Server, what: &str) -> u64 {
    server.plugin("store").await["delivery"][what].as_u64().unwrap()
}

async fn backlog(server: &Server) -> u64 {
    count(server, "backlog_messages").await
}

/// Waits until this many more messages are delivered.
async fn delivered(server: &Server, more: u64) {
    let wanted = count(server, "delivered").await + more;
    until("messages are delivered", async || {
        (count(server, "delivered").await >= wanted).then_some(())
    })
    .await;
}

/// Waits until the status says what is wrong.
async fn retrying(server: &Server) {
    until("the status says that the server is gone", async || {
        let status = server.plugin("store").await.to_string();
        status.contains("is the server running").then_some(())
    })
    .await;
}

async fn connect(cluster: &Cluster) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&cluster.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// As many rows as answers, each once, and the numbers of each agent in their order by id.
async fn check(cluster: &Cluster, acknowledged: usize) {
    let client = connect(cluster).await;
    let rows = client
        .query(
            "SELECT agent_id, (body ->> 'n')::bigint FROM metrics ORDER BY agent_id, message_id",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), acknowledged);
    let mut next = 0;
    let mut last = String::new();
    for row in rows {
        let (agent, n): (String, i64) = (row.get(0), row.get(1));
        next = if agent == last { next + 1 } else { 0 };
        assert_eq!(n, next, "{agent}");
        last = agent;
    }
}

/// Messages that SQLite and PostgreSQL store in different ways.
const ODD: [(&str, &str); 17] = [
    (
        "ethereum_metrics",
        r#"{"type":"statistics","body":{"active":true,"mining":false,"hashrate":0,"peers":5,"gasPrice":1000000000}}"#,
    ),
    (
        "ethereum_metrics",
        r#"{"type":"statistics","body":{"hashrate":1234.1,"gasPrice":0.30000000000000004}}"#,
    ),
    (
        "ethereum_metrics",
        r#"{"type":"statistics","body":{"hashrate":0.12345678901234567891,"gasPrice":1267650600228229401496703205376}}"#,
    ),
    (
        "ethereum_metrics",
        r#"{"type":"statistics","body":{"syncing":{"currentBlock":"0x\u0000 \"1\", 2","highestBlock":"\\N","startingBlock":"no value"}}}"#,
    ),
    ("ethereum_metrics", r#"{"type":"statistics","body":{"gasPrice":"0x10"}}"#),
    (
        "system_metrics",
        r#"{"type":"statistics","body":{"cpu_load":30.36418897967415,"disk_usage":17,"memory_usage":0.13406623869271939}}"#,
    ),
    ("system_metrics", r#"{"type":"statistics","body":{"cpu_load":1e300}}"#),
    ("system_metrics", r#"{"type":"statistics","body":{}}"#),
    ("networking_metrics", r#"{"type":"latency","body":{"latency":3}}"#),
    ("networking_metrics", r#"{"type":"a","body":{"a":1,"a":2}}"#),
    ("networking_metrics", r#"{"type":"a","body":[{"b":{"a":1,"\u0061":2}}]}"#),
    ("networking_metrics", r#"{"type":"a","body":{"text":"\u0000\u0000 \\u0000 \\\u0000"}}"#),
    ("networking_metrics", r#"{"type":"a","body":{"number":1e400000}}"#),
    ("networking_metrics", r#"{"type":"a","body":{"$json":"{}"}}"#),
    ("networking_metrics", r#"{"type":"no value","body":"line\nand 'line' \"line\" 🦀"}"#),
    ("networking_metrics", r#"{"no":"type"}"#),
    ("networking_metrics", "{}"),
];

/// The page `from-sqlite-to-postgres.md`, done: rows that were copied are the rows that the receiver would have stored.
#[tokio::test(flavor = "multi_thread")]
async fn rows_from_sqlite_come_as_the_receiver_would_have_stored_them() {
    let cluster = Cluster::start(Setup::default()).unwrap();
    let home = Home::with(&(sqlite("local", "metrics.db", "") + &receiver(&cluster)));
    let server = Server::start(&home).await;
    let token = server.login().await;
    for (n, (data_type, data)) in ODD.iter().enumerate() {
        let body = format!(r#"{{"id":"agent {n}","type":"{data_type}","data":{data}}}"#);
        let answer = server.ask("rest", &Request::post("/data", &token).json(&body)).await;
        assert_eq!(answer.status, 200, "{data}: {answer:?}");
    }
    // PostgreSQL has no number so large, so it is the one row that stands elsewhere.
    let beyond = r#"{"id":"beyond","type":"ethereum_metrics","data":{"type":"statistics","body":{"hashrate":1.5,"gasPrice":1e400000}}}"#;
    server.ask("rest", &Request::post("/data", &token).json(beyond)).await;
    server.drained("store").await;
    server.drained("local").await;
    server.stop().await;

    let client = connect(&cluster).await;
    let wanted = everything(&client).await;
    assert_eq!(wanted.len(), ODD.len() + AGENT_ROWS);
    client
        .batch_execute("TRUNCATE eth_stats, system_stats, metrics, agent_activity")
        .await
        .unwrap();
    for _ in 0..2 {
        import(&client, &export(&home)).await;
        assert_eq!(everything(&client).await, wanted);
    }
    let body =
        "SELECT (body ->> '$json')::json ->> 'gasPrice' FROM metrics WHERE agent_id = 'beyond'";
    let row = client.query_one(body, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "1e400000");
}

/// Each agent of [`ODD`] has one in `agent_activity`.
const AGENT_ROWS: usize = ODD.len();

/// All rows of all tables but those of the agent `beyond`, as PostgreSQL shows them.
async fn everything(client: &tokio_postgres::Client) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["eth_stats", "system_stats", "metrics", "agent_activity"] {
        let query = format!(
            "SELECT '{table} ' || stored::text FROM {table} AS stored WHERE agent_id <> 'beyond' ORDER BY 1"
        );
        all.extend(client.query(&query, &[]).await.unwrap().iter().map(|row| row.get(0)));
    }
    all
}

/// The blocks of SQL of the page: the one for `sqlite3`, and the one for `psql`.
fn page() -> (&'static str, &'static str) {
    let page = include_str!("../../docs/from-sqlite-to-postgres.md");
    let mut blocks = page.split("```sql\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    (blocks.next().unwrap(), blocks.next().unwrap())
}

/// The export of `sqlite3`, by the names of its files.
fn export(home: &Home) -> Vec<(String, String)> {
    let database = database(&home.data("metrics.db"));
    let parts = page().0.split(".once ").skip(1).map(|part| part.split_once('\n').unwrap());
    parts
        .map(|(file, query)| {
            let mut statement = database.prepare(query).unwrap();
            let names = statement.column_names().collect::<Vec<_>>().join(",");
            let width = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            let mut csv = names + "\r\n";
            while let Some(row) = rows.next().unwrap() {
                let cells = (0..width).map(|at| cell(row.get_ref(at).unwrap()));
                csv += &(cells.collect::<Vec<_>>().join(",") + "\r\n");
            }
            (file.trim().to_owned(), csv)
        })
        .collect()
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "no value".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => {
            format!("\"{}\"", std::str::from_utf8(text).unwrap().replace('"', "\"\""))
        }
        other => panic!("a double or a blob would lose something: {other:?}"),
    }
}

/// Does what `psql` would, its `\copy` included.
async fn import(client: &tokio_postgres::Client, files: &[(String, String)]) {
    let mut statements = String::new();
    for line in page().1.lines() {
        let Some(copy) = line.strip_prefix("\\copy ") else {
            statements += &format!("{line}\n");
            continue;
        };
        client.batch_execute(&std::mem::take(&mut statements)).await.unwrap();
        let (table, options) = copy.split_once(" FROM ").unwrap();
        let (file, options) = options.split_once(' ').unwrap();
        let (_, csv) = files.iter().find(|(name, _)| *name == file.trim_matches('\'')).unwrap();
        let copy = format!("COPY {table} FROM STDIN {options}");
        let mut sink = pin!(client.copy_in::<_, Bytes>(&copy).await.unwrap());
        sink.send(csv.clone().into()).await.unwrap();
        sink.finish().await.unwrap();
    }
    client.batch_execute(&statements).await.unwrap();
    client.batch_execute("DROP TABLE old_eth, old_system, old_metrics, old_activity; DROP FUNCTION pg_temp.as_numeric, pg_temp.as_jsonb").await.unwrap();
}
