//! The recorded messages of a real agent, replayed byte by byte; every message ends in its table.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use poa_test_postgres::{Cluster, Setup};
use poa_tests::{Home, METRICS, Request, Server, basic, database, rows, sqlite};
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

const USER: (&str, &str) = ("agent-user", "agent-password");

#[tokio::test]
async fn everything_the_real_agent_sent_is_stored() {
    let lines = include_str!("fixtures/agent_wire.jsonl").lines();
    let calls: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let cluster = Cluster::start(Setup::default()).unwrap();
    let url = cluster.url("postgres");
    let postgres = format!(
        "[receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = {METRICS:?}\n"
    );
    let home = Home::with(&(sqlite("local", "metrics.db", "") + &postgres));
    let server = Server::start(&home).await;
    server.add_user(USER.0, USER.1, None).await;

    // The agent began without a token, and was told so.
    let first = Request::post("/data", "none").msgpack(body(&calls[0]));
    assert_eq!(server.ask("rest", &first).await.status, 401);
    let mut token = server.session(USER.0, USER.1).await;
    for call in &calls {
        match call["service"].as_str().unwrap() {
            "auth" => token = log_in(&server, call).await,
            _ => send(&server, call, &token).await,
        }
    }
    server.stop().await;

    let data: Vec<&Value> = calls.iter().filter(|call| call["path"] == "/data").collect();
    assert_eq!(data.len(), 21);
    for stored in [stored(&home), stored_in_postgres(&url).await] {
        assert_eq!(stored.len(), data.len());
        for (stored, call) in stored.iter().zip(&data) {
            assert_eq!(*stored, expected(&body(call)));
        }
    }
    let history = data.iter().map(|call| body(call).len()).max();
    assert!(history > Some(25_000), "the histories are among them: {history:?}");
}

async fn log_in(server: &Server, call: &Value) -> String {
    let request = Request::new("POST", "/session").header("authorization", &basic(USER));
    let answer = server.ask("auth", &request.msgpack(body(call))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

async fn send(server: &Server, call: &Value, token: &str) {
    let path = call["path"].as_str().unwrap();
    let answer = server.ask("rest", &Request::post(path, token).msgpack(body(call))).await;
    assert_eq!((answer.status, &*answer.body), (200, r#"{"result":"success"}"#), "{call}");
}

/// The bytes on the wire. Of the largest calls only the content was recorded.
fn body(call: &Value) -> Vec<u8> {
    match call["body_hex"].as_str() {
        Some(hex) => {
            let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        }
        None => rmp_serde::to_vec(&call["body"]).unwrap(),
    }
}

/// The row of a call: its table, then its columns.
fn expected(call: &[u8]) -> Value {
    let call: Value = rmp_serde::from_slice(call).unwrap();
    let (data_type, data) = (&call["type"], &call["data"]);
    let body = &data["body"];
    let row = match (data_type.as_str().unwrap(), data["type"].as_str().unwrap()) {
        ("ethereum_metrics", "statistics") => json!([
            "eth_stats",
            i64::from(body["active"].as_bool().unwrap()),
            i64::from(body["mining"].as_bool().unwrap()),
            body["hashrate"],
            body["peers"],
            body["gasPrice"],
            body["syncing"]["currentBlock"],
            body["syncing"]["highestBlock"],
            body["syncing"]["startingBlock"],
        ]),
        ("system_metrics", "statistics") => json!([
            "system_stats",
            body["cpu_load"].as_f64(),
            body["disk_usage"].as_f64(),
            body["memory_usage"].as_f64(),
        ]),
        (data_type, kind) => json!(["metrics", data_type, kind, body]),
    };
    json!([call["id"], row])
}

/// All rows of all tables in the order of their messages, as [`expected`] tells them.
fn stored(home: &Home) -> Vec<Value> {
    let database = database(&home.data("metrics.db"));
    let tables = [
        (
            "eth_stats",
            "active, mining, hashrate, peers, gas_price, current_block, highest_block, starting_block",
        ),
        ("system_stats", "cpu_load, disk_usage, memory_usage"),
        ("metrics", "data_type, type, body"),
    ];
    let mut found = Vec::new();
    for (table, columns) in tables {
        let width = columns.split(", ").count();
        let query = format!("SELECT message_id, agent_id, {columns} FROM {table}");
        found.extend(rows(&database, &query, |row| {
            let cells = (2..2 + width).map(|index| cell(row.get(index).unwrap()));
            let mut all = vec![Value::from(table)];
            all.extend(cells);
            if table == "metrics" {
                let body = all.last_mut().unwrap();
                *body = serde_json::from_str(body.as_str().unwrap()).unwrap();
            }
            let agent: String = row.get(1).unwrap();
            (row.get::<_, String>(0).unwrap(), json!([agent, all]))
        }));
    }
    // Message ids sort by the time of receipt.
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found.into_iter().map(|(_, row)| row).collect()
}

/// The same in PostgreSQL.
async fn stored_in_postgres(url: &str) -> Vec<Value> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let query = "SELECT json_build_array(agent_id, cells)::text FROM (
        SELECT message_id, agent_id, json_build_array('eth_stats', active::int, mining::int, hashrate, peers, gas_price, current_block,
            highest_block, starting_block) AS cells FROM eth_stats
        UNION ALL SELECT message_id, agent_id, json_build_array('system_stats', cpu_load::text, disk_usage::text,
            memory_usage::text) FROM system_stats
        UNION ALL SELECT message_id, agent_id, json_build_array('metrics', data_type, type, body) FROM metrics
        ) AS stored ORDER BY message_id";
    let rows = client.query(query, &[]).await.unwrap();
    let rows = rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap());
    rows.map(|mut row: Value| {
        if row[1][0] == "system_stats" {
            // Read from the text, because serde_json may miss the nearest double by one.
            let double = |cell: &Value| cell.as_str().map(|text| text.parse::<f64>().unwrap());
            let cells = row[1].as_array_mut().unwrap();
            cells[1..].iter_mut().for_each(|cell| *cell = double(cell).into());
        }
        row
    })
    .collect()
}

fn cell(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => number.into(),
        Cell::Real(number) => number.into(),
        Cell::Text(text) => text.into(),
        Cell::Blob(bytes) => bytes.into(),
    }
}
