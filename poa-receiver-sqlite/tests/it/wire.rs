//! Every call of a real agent is stored in the right table, field by field.

use crate::common::{Subject, text};
use poa_core::{Format, Message, Payload};
use rusqlite::types::Value as Sql;
use serde_json::Value;

struct Sent {
    data_type: String,
    data: Value,
    message: Message,
}

/// The data calls of the recording.
fn sent(subject: &mut Subject) -> Vec<Sent> {
    let lines =
        include_str!("../fixtures/agent_wire.jsonl").lines().filter(|line| !line.is_empty());
    let calls = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    calls
        .filter(|call| call["path"] == "/data")
        .map(|call| {
            let packed = data_of(&call);
            let data = rmp_serde::from_slice(&packed).unwrap();
            let payload = Payload::new(Format::MessagePack, packed.into());
            let data_type = call["body"]["type"].as_str().unwrap().to_owned();
            let agent = call["body"]["id"].as_str().unwrap();
            let message = subject.samples.message_of(agent, &data_type, payload);
            Sent { data_type, data, message }
        })
        .collect()
}

/// The bytes of the data as the agent sent them; of the largest calls only the content is recorded.
fn data_of(call: &Value) -> Vec<u8> {
    let Some(body) = call["body_hex"].as_str() else {
        return rmp_serde::to_vec(&call["body"]["data"]).unwrap();
    };
    let after_key = body.strip_prefix("83a464617461").unwrap();
    let data = &after_key[..after_key.rfind("a26964b7").unwrap()];
    let byte = |at: usize| u8::from_str_radix(&data[at..at + 2], 16).unwrap();
    (0..data.len()).step_by(2).map(byte).collect()
}

fn number(value: &Value) -> Sql {
    value.as_i64().map(Sql::Integer).or_else(|| value.as_f64().map(Sql::Real)).unwrap_or(Sql::Null)
}

fn flag(value: &Value) -> Sql {
    value.as_bool().map_or(Sql::Null, |flag| Sql::Integer(flag.into()))
}

fn words(value: &Value) -> Sql {
    value.as_str().map_or(Sql::Null, text)
}

/// The table of this message, and the columns after the first three.
fn expected(sent: &Sent) -> (&'static str, Vec<Sql>) {
    let body = &sent.data["body"];
    match (&*sent.data_type, &sent.data["type"]) {
        ("ethereum_metrics", Value::String(kind)) if kind == "statistics" => {
            let syncing = &body["syncing"];
            let columns = vec![
                flag(&body["active"]),
                flag(&body["mining"]),
                number(&body["hashrate"]),
                number(&body["peers"]),
                number(&body["gasPrice"]),
                words(&syncing["currentBlock"]),
                words(&syncing["highestBlock"]),
                words(&syncing["startingBlock"]),
            ];
            ("eth_stats", columns)
        }
        ("system_metrics", Value::String(kind)) if kind == "statistics" => {
            let double = |key: &str| body[key].as_f64().map_or(Sql::Null, Sql::Real);
            let columns = ["cpu_load", "disk_usage", "memory_usage"].map(double);
            ("system_stats", columns.into())
        }
        (data_type, kind) => {
            ("metrics", vec![text(data_type), words(kind), text(&body.to_string())])
        }
    }
}

fn check(subject: &Subject, sent: &Sent) {
    let (table, mut columns) = expected(sent);
    let message = &sent.message;
    let mut row =
        subject.row(&format!("SELECT * FROM {table} WHERE message_id = '{}'", message.id()));
    if table == "metrics" {
        // The order of keys and the spelling of numbers are the agent's; only the values are
        // compared.
        let (Some(Sql::Text(body)), Some(Sql::Text(wanted))) = (row.pop(), columns.pop()) else {
            panic!("the body is not a text")
        };
        let parse = |json: &str| serde_json::from_str::<Value>(json).unwrap();
        assert_eq!(parse(&body), parse(&wanted));
    }
    let mut wanted = vec![
        text(&message.id().to_string()),
        text(&message.received_at().to_string()),
        text(message.agent_id().as_str()),
    ];
    wanted.extend(columns);
    assert_eq!(row, wanted, "{table}");
}

#[tokio::test]
async fn every_call_of_a_real_agent_is_stored_whole() {
    let mut subject = Subject::new().await;
    let sent = sent(&mut subject);
    let batch: Vec<_> = sent.iter().map(|sent| sent.message.clone()).collect();
    subject.store(&batch).await;
    for sent in &sent {
        check(&subject, sent);
    }
    let stored: i64 = subject.counts().iter().sum();
    assert_eq!(stored, sent.len() as i64);
    assert_eq!(subject.counter("receiver_unmapped_messages"), 0);
    let largest = subject.row("SELECT max(length(body)) FROM metrics");
    assert!(matches!(largest[..], [Sql::Integer(50_000..)]), "the history is missing: {largest:?}");
}

#[tokio::test]
async fn the_same_batch_again_changes_nothing() {
    let mut subject = Subject::new().await;
    let batch: Vec<_> = sent(&mut subject).into_iter().map(|sent| sent.message).collect();
    subject.store(&batch).await;
    let everything = |subject: &Subject| {
        ["eth_stats", "system_stats", "metrics", "agent_activity"]
            .map(|table| subject.rows(&format!("SELECT rowid, * FROM {table} ORDER BY rowid")))
    };
    let before = everything(&subject);
    subject.store(&batch).await;
    subject.crash().await;
    subject.store(&batch).await;
    assert_eq!(everything(&subject), before);
}
