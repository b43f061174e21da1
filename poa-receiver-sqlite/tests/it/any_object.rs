//! Any object that an agent sends is stored in exactly one row, and those of `metrics` return what was sent.

use crate::common::Subject;
use poa_core::{Format, Payload};
use proptest::prelude::*;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Value, json};

/// Keys and texts with a meaning for the receiver, and others.
fn word() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 15] = [
        "type",
        "body",
        "statistics",
        "active",
        "gasPrice",
        "hashrate",
        "peers",
        "mining",
        "syncing",
        "currentBlock",
        "cpu_load",
        "disk_usage",
        "0x10",
        "12",
        "",
    ];
    prop_oneof![2 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Few digits: reading them back must not round.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        word().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object_of(inner).prop_map(Value::Object),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((word(), inner), 0..6).prop_map(|entries| entries.into_iter().collect())
}

/// Any object, more often one that resembles those of real agents.
fn data() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![Just(json!("statistics")), Just(json!("latency")), value()];
    let body = prop_oneof![object_of(scalar()).prop_map(Value::Object), value()];
    let usual =
        (kind, body, prop::option::weighted(0.1, value())).prop_map(|(kind, body, more)| {
            let mut data = json!({"type": kind, "body": body});
            if let Some(more) = more {
                data["more"] = more;
            }
            data
        });
    prop_oneof![3 => usual, 1 => object_of(value()).prop_map(Value::Object)]
}

/// The data that was sent, reconstructed from a row of `metrics`.
fn read_back(kind: &Sql, body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    let Sql::Text(kind) = kind else { return body };
    let own = body.get("type").and_then(Value::as_str).map(|own| own.replace('\0', "\u{fffd}"));
    if own.as_ref() == Some(kind) { body } else { json!({"type": kind, "body": body}) }
}

async fn check(data_type: &str, data: &Value, format: Format) -> Result<(), TestCaseError> {
    let mut subject = Subject::new().await;
    let bytes = match format {
        Format::MessagePack => rmp_serde::to_vec(data).unwrap(),
        _ => serde_json::to_vec(data).unwrap(),
    };
    let message = subject.samples.message_of("a1", data_type, Payload::new(format, bytes.into()));
    let batch = [message];
    subject.store(&batch).await;
    subject.store(&batch).await;
    let [eth, system, metrics] = subject.counts();
    prop_assert_eq!(eth + system + metrics, 1);
    if metrics == 1 {
        let row = subject.row("SELECT type, body FROM metrics");
        let Sql::Text(body) = &row[1] else { panic!("the body is not a text") };
        prop_assert_eq!(&read_back(&row[0], body), data);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn one_row_for_any_object(
        data in data(),
        data_type in prop::sample::select(&["ethereum_metrics", "system_metrics", "networking_metrics"][..]),
        packed in any::<bool>(),
    ) {
        let format = if packed { Format::MessagePack } else { Format::Json };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(data_type, &data, format))?;
    }
}
