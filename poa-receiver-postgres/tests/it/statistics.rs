//! The column of each value, and the cases that go to `metrics` instead.

use crate::common::{Row, Subject, some};
use poa_core::{MessageType, Payload};

const COLUMNS: &str =
    "active, mining, hashrate, peers, gas_price, current_block, highest_block, starting_block";

impl Subject {
    /// Stores statistics of `ethereum_metrics` with this body; the columns after the first three.
    async fn eth(&mut self, body: &str) -> Row {
        let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
        let id = self.store_json("ethereum_metrics", &data).await.id();
        self.row(&format!("SELECT {COLUMNS} FROM eth_stats WHERE message_id = '{id}'")).await
    }

    async fn system(&mut self, body: &str) -> Row {
        let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
        let id = self.store_json("system_metrics", &data).await.id();
        self.row(&format!(
            "SELECT cpu_load, disk_usage, memory_usage FROM system_stats WHERE message_id = '{id}'"
        ))
        .await
    }

    /// Stores data that goes to `metrics`; returns `type` and `body`.
    async fn metric(&mut self, data_type: &str, data: &str) -> Row {
        let id = self.store_json(data_type, data).await.id();
        self.row(&format!("SELECT type, body FROM metrics WHERE message_id = '{id}'")).await
    }
}

#[tokio::test]
async fn wide_and_odd_numbers_keep_every_digit() {
    let mut subject = Subject::new().await;
    let wide = "1267650600228229401496703205376";
    let longest = "7".repeat(131_072);
    let finest = format!("-0.{}1", "0".repeat(16_382));
    let thousand = format!("1{}", "0".repeat(5000));
    let cases = [
        ("20000000000", "20000000000"),
        ("0", "0"),
        ("-0.0", "0"),
        ("-1", "-1"),
        ("9999", "9999"),
        ("10000", "10000"),
        ("9223372036854775808", "9223372036854775808"),
        (wide, wide),
        ("-1267650600228229401496703205376", "-1267650600228229401496703205376"),
        ("1e18", "1000000000000000000"),
        ("1e5000", &thousand),
        ("1234.5", "1234.5"),
        ("-12345678.9012345678", "-12345678.9012345678"),
        ("0.0001", "0.0001"),
        ("1.5e-7", "0.00000015"),
        ("123.450e1", "1234.5"),
        ("0.30000000000000000000000000000001", "0.30000000000000000000000000000001"),
        (r#""20000000000""#, "20000000000"),
        (&longest, &longest),
        (&finest, &finest),
    ];
    for (number, expected) in cases {
        let row = subject.eth(&format!(r#"{{"gasPrice":{number},"hashrate":{number}}}"#)).await;
        assert_eq!((&row[2], &row[4]), (&some(expected), &some(expected)), "{number}");
    }
    assert_eq!(subject.eth(r#"{"gasPrice":null}"#).await[4], None);
    // They are numbers to the database, not only texts that look like numbers.
    let sum = "SELECT sum(gas_price) > 2 * 1267650600228229401496703205376 FROM eth_stats";
    assert_eq!(subject.database.value(sum).await, "t");
}

#[tokio::test]
async fn doubles_take_integers_and_numeric_texts() {
    let mut subject = Subject::new().await;
    let row = subject
        .system(r#"{"cpu_load":12,"disk_usage":"12","memory_usage":0.13406623869271939}"#)
        .await;
    assert_eq!(row, [some("12"), some("12"), some("0.13406623869271939")]);
    let row = subject.system(r#"{"cpu_load":-0.5e-3,"disk_usage":9007199254740992}"#).await;
    assert_eq!(row, [some("-0.0005"), some("9.007199254740992e+15"), None]);
}

#[tokio::test]
async fn missing_keys_are_null_and_unknown_ones_are_ignored() {
    let mut subject = Subject::new().await;
    assert_eq!(subject.eth("{}").await, vec![None; 8]);
    assert_eq!(
        subject.eth(r#"{"uptime":100.0,"active":false,"peers":"5"}"#).await[..4],
        [some("f"), None, None, some("5")]
    );
    assert_eq!(subject.system("{}").await, vec![None; 3]);
}

#[tokio::test]
async fn syncing_is_three_columns_or_none() {
    let mut subject = Subject::new().await;
    let long = "9".repeat(300);
    let syncing = format!(
        r#"{{"syncing":{{"currentBlock":"0x10","highestBlock":{long},"startingBlock":"{long}"}}}}"#
    );
    assert_eq!(subject.eth(&syncing).await[5..], [some("0x10"), some(&long), some(&long)]);
    for none in ["false", "true", "null", "[]", "7", r#""no""#, "{}"] {
        let row = subject.eth(&format!(r#"{{"syncing":{none}}}"#)).await;
        assert_eq!(row[5..], [None, None, None], "{none}");
    }
}

#[tokio::test]
async fn data_that_does_not_fit_goes_whole_to_metrics() {
    let mut subject = Subject::new().await;
    let eth = [
        r#"{"active": 1}"#,
        r#"{"mining": "true"}"#,
        r#"{"hashrate": "0x10"}"#,
        r#"{"peers": 5.5}"#,
        r#"{"peers": 9223372036854775808}"#,
        r#"{"gasPrice": true}"#,
        r#"{"syncing": {"currentBlock": {}}}"#,
    ];
    let system =
        [r#"{"cpu_load": "high"}"#, r#"{"disk_usage": 9007199254740993}"#, "[1, 2]", "null"];
    let cases = eth.map(|body| ("ethereum_metrics", body));
    for (data_type, body) in cases.into_iter().chain(system.map(|body| ("system_metrics", body))) {
        let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
        assert_eq!(subject.metric(data_type, &data).await, [some("statistics"), some(body)]);
    }
    assert_eq!(subject.counter("receiver_unmapped_messages"), 11);
}

#[tokio::test]
async fn json_that_jsonb_cannot_hold_is_kept_as_text() {
    let mut subject = Subject::new().await;
    let bodies = [
        r#"{"n":1e400000}"#,
        r#"{"n":1e-20000}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"lone":"\ud800"}"#,
        r#"{"$json":"mine"}"#,
        r#"{"gasPrice":1e400000}"#,
    ];
    for body in bodies {
        let data = format!(r#"{{"type":"block","body":{body}}}"#);
        let row = subject.metric("ethereum_metrics", &data).await;
        let kept = serde_json::from_str::<serde_json::Value>(row[1].as_deref().unwrap()).unwrap();
        assert_eq!(kept, serde_json::json!({ "$json": body }));
    }
    assert_eq!(subject.counter("receiver_wrapped_json_messages"), 6);
}

#[tokio::test]
async fn jsonb_can_hold_what_it_is_given() {
    let mut subject = Subject::new().await;
    let deep = format!("{}1{}", r#"{"b": "#.repeat(511), "}".repeat(511));
    let longest = format!("{}.{}", "7".repeat(131_072), "7".repeat(16_383));
    let list = format!("[{longest}, \"{}\"]", "🦀".repeat(100_000));
    for body in [r#"{"": [], "a": "\\u0000 \" 🦀", "n": 12345678901234567890123.50}"#, &deep, &list]
    {
        let data = format!(r#"{{"type":"block","body":{body}}}"#);
        assert_eq!(subject.metric("networking_metrics", &data).await, [some("block"), some(body)]);
    }
    assert_eq!(subject.counter("receiver_wrapped_json_messages"), 0);
}

#[tokio::test]
async fn nul_characters_are_replaced() {
    let mut subject = Subject::new().await;
    let data = r#"{"type":"a\u0000b","body":{"text":"\u0000"}}"#;
    let row = subject.metric("networking_metrics", data).await;
    assert_eq!(
        row,
        [
            some("a\u{fffd}b"),
            some("{\"body\": {\"text\": \"\u{fffd}\"}, \"type\": \"a\u{fffd}b\"}")
        ]
    );
    let row = subject.eth(r#"{"syncing":{"currentBlock":"\u00001"}}"#).await;
    assert_eq!(row[5], some("\u{fffd}1"));
    assert_eq!(subject.counter("receiver_replaced_nul_messages"), 2);
}

#[tokio::test]
async fn a_bye_is_not_a_statistic() {
    let mut subject = Subject::new().await;
    let draft = poa_core::Draft::new(
        poa_core::AgentId::new("a1").unwrap(),
        poa_core::DataTypes::new(["system_metrics"]).unwrap().iter().next().unwrap().clone(),
        Payload::new(
            poa_core::Format::Json,
            r#"{"type":"statistics","body":{"cpu_load":1}}"#.into(),
        ),
    );
    let bye = subject.samples.stamp(draft.with_message_type(MessageType::Bye));
    subject.store(&[bye]).await;
    assert_eq!(subject.counts().await, [0, 0, 1]);
    assert!(subject.database.rows("SELECT * FROM agent_activity").await.is_empty());
}

/// Whatever else is in its batch, a valid message is stored in its table, and so is an odd one.
#[tokio::test]
async fn odd_values_and_good_neighbours_in_one_batch() {
    let mut subject = Subject::new().await;
    let deep = format!("{}1{}", r#"{"b":"#.repeat(600), "}".repeat(600));
    let long = "9".repeat(300);
    let wide = "1267650600228229401496703205376";
    let typed = [
        format!(r#"{{"gasPrice":20000000000,"hashrate":{wide}}}"#),
        format!(r#"{{"gasPrice":{wide},"peers":"5","hashrate":1.5}}"#),
        format!(r#"{{"syncing":{{"currentBlock":{long},"highestBlock":"{long}"}}}}"#),
        r#"{"syncing":{"currentBlock":"\u00001"}}"#.to_owned(),
        deep,
        "{}".to_owned(),
    ];
    let untyped = [
        r#"{"active":1}"#,
        r#"{"gasPrice":"0x10"}"#,
        r#"{"gasPrice":1e400000}"#,
        r#"{"peers":9223372036854775808}"#,
        r#"{"a":1,"a":2,"gasPrice":true}"#,
        r#"{"mining":"\ud800"}"#,
        "[1]",
        "null",
    ];
    let system = [r#"{"cpu_load":12}"#, r#"{"cpu_load":0.5,"disk_usage":"7"}"#];
    let odd_system = [r#"{"cpu_load":"high"}"#, r#"{"cpu_load":0.12345678901234567890}"#];
    let mut batch = Vec::new();
    let mut add = |data_type: &str, body: &str| {
        for body in [body, "{}"] {
            let data = format!(r#"{{"type":"statistics","body":{body}}}"#);
            batch.push(subject.samples.json("a1", data_type, &data));
        }
    };
    typed.iter().for_each(|body| add("ethereum_metrics", body));
    untyped.iter().for_each(|body| add("ethereum_metrics", body));
    system.iter().chain(&odd_system).for_each(|body| add("system_metrics", body));
    subject.store(&batch).await;
    // Each is next to a valid one.
    let (eth, odd) = (2 * typed.len() + untyped.len(), untyped.len() + odd_system.len());
    let wanted = [eth, 2 * system.len() + odd_system.len(), odd].map(|count| count as u64);
    assert_eq!(subject.counts().await, wanted);
    assert_eq!(subject.counter("receiver_unmapped_messages"), odd as u64);
    let gas =
        "SELECT array_agg(gas_price ORDER BY gas_price) FROM eth_stats WHERE gas_price IS NOT NULL";
    assert_eq!(subject.database.value(gas).await, format!("{{20000000000,{wide}}}"));
}
