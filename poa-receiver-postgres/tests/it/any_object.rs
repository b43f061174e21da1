//! Any object that an agent sends is stored in exactly one row, and those of `metrics` return what was sent.

use poa_core::{Format, Payload};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::common::Subject;

/// Keys and texts with a meaning for the receiver, and others.
fn word() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 12] = [
        "type",
        "body",
        "statistics",
        "gasPrice",
        "peers",
        "syncing",
        "currentBlock",
        "cpu_load",
        "$json",
        "a\0",
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

/// The meaning of the body, read as the README describes.
fn unwrapped(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    match body.as_object().filter(|body| body.len() == 1).and_then(|body| body.get("$json")) {
        Some(text) => serde_json::from_str(text.as_str().unwrap()).unwrap(),
        None => body,
    }
}

/// The data that was sent, reconstructed from a row of `metrics`.
fn read_back(kind: Option<&str>, body: &str) -> Value {
    let body = unwrapped(body);
    let Some(kind) = kind else { return body };
    let own = body.get("type").and_then(Value::as_str).map(|own| own.replace('\0', "\u{fffd}"));
    if own.as_deref() == Some(kind) { body } else { json!({"type": kind, "body": body}) }
}

/// The same with U+FFFD for NUL, and numbers as doubles: the database spells them differently.
fn normal(value: &Value) -> Value {
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::String(inner) => json!(text(inner)),
        Value::Array(values) => values.iter().map(normal).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (text(key), normal(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

async fn check(
    subject: &mut Subject,
    data_type: &str,
    data: &Value,
    format: Format,
) -> Result<(), TestCaseError> {
    let bytes = match format {
        Format::MessagePack => rmp_serde::to_vec(data).unwrap(),
        _ => serde_json::to_vec(data).unwrap(),
    };
    let before: u64 = subject.counts().await.iter().sum();
    let message = subject.samples.message_of("a1", data_type, Payload::new(format, bytes.into()));
    let id = message.id();
    let batch = [message];
    subject.store(&batch).await;
    subject.store(&batch).await;
    prop_assert_eq!(subject.counts().await.iter().sum::<u64>(), before + 1);
    let rows = subject
        .database
        .rows(&format!("SELECT type, body FROM metrics WHERE message_id = '{id}'"))
        .await;
    for row in rows {
        let read = read_back(row[0].as_deref(), row[1].as_deref().unwrap());
        prop_assert_eq!(normal(&read), normal(data));
    }
    Ok(())
}

#[test]
fn one_row_for_any_object() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let subject = std::cell::RefCell::new(runtime.block_on(Subject::new()));
    let types =
        prop::sample::select(&["ethereum_metrics", "system_metrics", "networking_metrics"][..]);
    let mut runner = TestRunner::new(ProptestConfig { cases: 192, ..ProptestConfig::default() });
    let result = runner.run(&(data(), types, any::<bool>()), |(data, data_type, packed)| {
        let format = if packed { Format::MessagePack } else { Format::Json };
        runtime.block_on(check(&mut subject.borrow_mut(), data_type, &data, format))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
