//! Every call of a real agent is stored in the right table, field by field.

use crate::common::{Row, Subject, some};
use poa_core::{Format, Message, Payload};
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

/// A value as PostgreSQL shows it.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => some("t"),
        Value::Bool(false) => some("f"),
        Value::String(text) => some(text),
        number => Some(number.to_string().trim_end_matches(".0").to_owned()),
    }
}

/// The table of this message, and the columns after the first three.
fn expected(sent: &Sent) -> (&'static str, Row) {
    let body = &sent.data["body"];
    let columns = |keys: &[&str]| keys.iter().map(|key| shown(&body[key])).collect::<Row>();
    match (&*sent.data_type, &sent.data["type"]) {
        ("ethereum_metrics", Value::String(kind)) if kind == "statistics" => {
            let syncing = ["currentBlock", "highestBlock", "startingBlock"]
                .map(|key| shown(&body["syncing"][key]));
            let mut row = columns(&["active", "mining", "hashrate", "peers", "gasPrice"]);
            row.extend(syncing);
            ("eth_stats", row)
        }
        ("system_metrics", Value::String(kind)) if kind == "statistics" => {
            ("system_stats", columns(&["cpu_load", "disk_usage", "memory_usage"]))
        }
        (data_type, kind) => {
            ("metrics", vec![some(data_type), shown(kind), Some(body.to_string())])
        }
    }
}

async fn check(subject: &Subject, sent: &Sent) {
    let (table, mut columns) = expected(sent);
    let message = &sent.message;
    let mut row =
        subject.row(&format!("SELECT * FROM {table} WHERE message_id = '{}'", message.id())).await;
    if table == "metrics" {
        // The order of keys and the spelling of numbers are the database's; only the values are
        // compared.
        let parse = |json: Option<Option<String>>| {
            serde_json::from_str::<Value>(&json.flatten().unwrap()).unwrap()
        };
        assert_eq!(parse(row.pop()), parse(columns.pop()));
    }
    let date = message.received_at().to_string().replace('T', " ").replace('Z', "");
    let date = date.trim_end_matches('0').trim_end_matches('.').to_owned() + "+00";
    let mut wanted =
        vec![some(&message.id().to_string()), Some(date), some(message.agent_id().as_str())];
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
        check(&subject, sent).await;
    }
    let stored: u64 = subject.counts().await.iter().sum();
    assert_eq!(stored, sent.len() as u64);
    for counter in ["unmapped", "wrapped_json", "replaced_nul"] {
        assert_eq!(subject.counter(&format!("receiver_{counter}_messages")), 0);
    }
    let largest: usize = subject
        .database
        .value("SELECT max(length(body::text)) FROM metrics")
        .await
        .parse()
        .unwrap();
    assert!(largest > 50_000, "the history is missing: {largest}");
}

#[tokio::test]
async fn the_same_batch_again_changes_nothing() {
    let mut subject = Subject::new().await;
    let batch: Vec<_> = sent(&mut subject).into_iter().map(|sent| sent.message).collect();
    subject.store(&batch).await;
    let everything = async |subject: &Subject| {
        let mut all = Vec::new();
        for table in ["eth_stats", "system_stats", "metrics", "agent_activity"] {
            all.extend(
                subject.database.rows(&format!("SELECT ctid, * FROM {table} ORDER BY ctid")).await,
            );
        }
        all
    };
    let before = everything(&subject).await;
    subject.store(&batch).await;
    subject.crash().await;
    subject.store(&batch).await;
    assert_eq!(everything(&subject).await, before);
}
