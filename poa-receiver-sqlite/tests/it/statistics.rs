//! The column of each value, and the cases that go to `metrics` instead.

use crate::common::{Subject, text};
use poa_core::{MessageType, Payload};
use rusqlite::types::Value::{self, Integer, Null, Real};

const COLUMNS: &str =
    "active, mining, hashrate, peers, gas_price, current_block, highest_block, starting_block";

/// Stores statistics of `ethereum_metrics` with this body; the columns after the first three.
async fn eth(body: &str) -> Vec<Value> {
    let mut subject = Subject::new().await;
    let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
    subject.store_json("ethereum_metrics", &data).await;
    assert_eq!(subject.counts(), [1, 0, 0], "{body}");
    assert_eq!(subject.counter("receiver_unmapped_messages"), 0);
    subject.row(&format!("SELECT {COLUMNS} FROM eth_stats"))
}

async fn system(body: &str) -> Vec<Value> {
    let mut subject = Subject::new().await;
    let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
    subject.store_json("system_metrics", &data).await;
    assert_eq!(subject.counts(), [0, 1, 0], "{body}");
    subject.row("SELECT cpu_load, disk_usage, memory_usage FROM system_stats")
}

/// Stores data that does not fit its table; returns `type` and `body` as in `metrics`.
async fn unmapped(data_type: &str, data: &str) -> Vec<Value> {
    let mut subject = Subject::new().await;
    subject.store_json(data_type, data).await;
    assert_eq!(subject.counts(), [0, 0, 1], "{data}");
    assert_eq!(subject.counter("receiver_unmapped_messages"), 1, "{data}");
    subject.row("SELECT type, body FROM metrics")
}

/// Stores data that has no table of its own; returns `type` and `body` as in `metrics`.
async fn metric(data: &str) -> Vec<Value> {
    let mut subject = Subject::new().await;
    subject.store_json("networking_metrics", data).await;
    assert_eq!(subject.counter("receiver_unmapped_messages"), 0, "{data}");
    subject.row("SELECT type, body FROM metrics")
}

#[tokio::test]
async fn wide_and_odd_numbers_keep_every_digit() {
    let wide = "1267650600228229401496703205376";
    let cases = [
        ("20000000000", Integer(20_000_000_000)),
        ("9223372036854775807", Integer(i64::MAX)),
        ("9223372036854775808", text("9223372036854775808")),
        (wide, text(wide)),
        ("-1", Integer(-1)),
        ("-1267650600228229401496703205376", text("-1267650600228229401496703205376")),
        ("1e18", Integer(1_000_000_000_000_000_000)),
        ("1e30", text("1000000000000000000000000000000")),
        ("1e5000", text("1e5000")),
        ("1234.5", Real(1234.5)),
        ("0.30000000000000000000000000000001", text("0.30000000000000000000000000000001")),
        (r#""20000000000""#, Integer(20_000_000_000)),
        (r#""1267650600228229401496703205376""#, text(wide)),
        ("null", Null),
    ];
    for (number, expected) in cases {
        let row = eth(&format!(r#"{{"gasPrice":{number},"hashrate":{number}}}"#)).await;
        assert_eq!((&row[2], &row[4]), (&expected, &expected), "{number}");
    }
}

#[tokio::test]
async fn doubles_take_integers_and_numeric_texts() {
    let row = system(r#"{"cpu_load":12,"disk_usage":"12","memory_usage":0.13406623869271939}"#);
    assert_eq!(row.await, [Real(12.0), Real(12.0), Real(0.134_066_238_692_719_39)]);
    let row = system(r#"{"cpu_load":-0.5e-3,"disk_usage":9007199254740992}"#).await;
    assert_eq!(row, [Real(-0.0005), Real(9_007_199_254_740_992.0), Null]);
}

#[tokio::test]
async fn missing_keys_are_null_and_unknown_ones_are_ignored() {
    assert_eq!(eth("{}").await, vec![Null; 8]);
    assert_eq!(eth(r#"{"uptime":100.0,"active":false}"#).await[0], Integer(0));
    assert_eq!(system("{}").await, vec![Null; 3]);
}

#[tokio::test]
async fn syncing_is_three_columns_or_none() {
    let long = "9".repeat(300);
    let syncing = format!(
        r#"{{"syncing":{{"currentBlock":"0x10","highestBlock":{long},"startingBlock":"{long}"}}}}"#
    );
    assert_eq!(eth(&syncing).await[5..], [text("0x10"), text(&long), text(&long)]);
    assert_eq!(
        eth(r#"{"syncing":{"currentBlock":280288}}"#).await[5..],
        [text("280288"), Null, Null]
    );
    for none in ["false", "true", "null", "[]", "7", r#""no""#, "{}"] {
        let row = eth(&format!(r#"{{"syncing":{none}}}"#)).await;
        assert_eq!(row[5..], [Null, Null, Null], "{none}");
    }
}

#[tokio::test]
async fn data_that_does_not_fit_goes_whole_to_metrics() {
    let eth = [
        r#"{"active":1}"#,
        r#"{"mining":"true"}"#,
        r#"{"hashrate":"0x10"}"#,
        r#"{"hashrate":[1]}"#,
        r#"{"peers":5.5}"#,
        r#"{"peers":9223372036854775808}"#,
        r#"{"gasPrice":true}"#,
        r#"{"syncing":{"currentBlock":{}}}"#,
        r#"{"active":true,"active":true}"#,
    ];
    let system = [
        r#"{"cpu_load":"high"}"#,
        r#"{"cpu_load":"NaN"}"#,
        r#"{"cpu_load":1e999}"#,
        r#"{"disk_usage":9007199254740993}"#,
        r#"{"memory_usage":{"free":1}}"#,
    ];
    let cases = eth.map(|body| ("ethereum_metrics", body));
    for (data_type, body) in cases.into_iter().chain(system.map(|body| ("system_metrics", body))) {
        let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
        assert_eq!(unmapped(data_type, &data).await, [text("statistics"), text(body)]);
    }
}

#[tokio::test]
async fn statistics_without_an_object_go_whole_to_metrics() {
    for body in ["[1,2,3]", "null", "7", r#""none""#] {
        let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
        let row = unmapped("system_metrics", &data).await;
        assert_eq!(row, [text("statistics"), text(body)]);
    }
    let data = r#"{"type":"statistics"}"#;
    assert_eq!(unmapped("system_metrics", data).await, [text("statistics"), text(data)]);
}

#[tokio::test]
async fn statistics_of_other_data_types_are_metrics() {
    let row = metric(r#"{"type":"statistics","body":{"cpu_load":1}}"#).await;
    assert_eq!(row, [text("statistics"), text(r#"{"cpu_load":1}"#)]);
}

#[tokio::test]
async fn the_body_of_metrics_is_that_of_the_data_or_the_data_whole() {
    assert_eq!(
        metric(r#"{"body": {"latency": 3}, "type": "latency"}"#).await,
        [text("latency"), text(r#"{"latency": 3}"#)]
    );
    for whole in
        ["{}", r#"{"a":1}"#, r#"{"type":7,"body":{}}"#, r#"{"type":null}"#, r#"{"body":{}}"#]
    {
        assert_eq!(metric(whole).await, [Null, text(whole)]);
    }
    for whole in [
        r#"{"type":"t"}"#,
        r#"{"type":"t","body":{},"more":1}"#,
        // These bodies resemble data of type `t` themselves.
        r#"{"type":"t","body":{"type":"t"}}"#,
        r#"{"type":"t","body":{"type":"\u0074","body":1}}"#,
        r#"{"type":"t","body":{"type":1,"type":"t"}}"#,
    ] {
        assert_eq!(metric(whole).await, [text("t"), text(whole)]);
    }
    let twice = r#"{"type":"t","type":"u","body":{}}"#;
    assert_eq!(metric(twice).await, [Null, text(twice)]);
}

#[tokio::test]
async fn nul_characters_are_replaced_in_columns_and_kept_in_json() {
    let mut subject = Subject::new().await;
    let data = r#"{"type":"a\u0000b","body":{"text":"\u0000"}}"#;
    subject.store_json("networking_metrics", data).await;
    let row = subject.row("SELECT type, body FROM metrics");
    assert_eq!(row, [text("a\u{fffd}b"), text(data)]);
    let data = r#"{"type":"statistics","body":{"syncing":{"currentBlock":"\u00001"}}}"#;
    subject.store_json("ethereum_metrics", data).await;
    assert_eq!(subject.row("SELECT current_block FROM eth_stats"), [text("\u{fffd}1")]);
    assert_eq!(subject.counter("receiver_replaced_nul_messages"), 2);
}

#[tokio::test]
async fn deeply_nested_data_is_stored() {
    for data_type in ["ethereum_metrics", "networking_metrics"] {
        let mut subject = Subject::new().await;
        let body = format!(r#"{{"a":{}1{}}}"#, r#"{"b":"#.repeat(126), "}".repeat(126));
        let data = format!(r#"{{"type":"block","body":{body}}}"#);
        subject.store_json(data_type, &data).await;
        assert_eq!(subject.row("SELECT body FROM metrics"), [text(&body)]);
    }
}

#[tokio::test]
async fn a_bye_is_not_a_statistic() {
    let mut subject = Subject::new().await;
    let data = r#"{"type":"statistics","body":{"cpu_load":1}}"#;
    let draft = poa_core::Draft::new(
        poa_core::AgentId::new("a1").unwrap(),
        poa_core::DataTypes::new(["system_metrics"]).unwrap().iter().next().unwrap().clone(),
        Payload::new(poa_core::Format::Json, data.into()),
    );
    let bye = subject.samples.stamp(draft.with_message_type(MessageType::Bye));
    subject.store(&[bye]).await;
    assert_eq!(subject.counts(), [0, 0, 1]);
    assert!(subject.rows("SELECT * FROM agent_activity").is_empty());
}
