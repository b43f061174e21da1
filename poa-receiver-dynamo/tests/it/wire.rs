//! Every block a real agent sent ends in the table, field by field; everything else it sent is skipped.

use poa_core::{Format, Message, Payload};
use serde_json::Value;

use crate::common::{Subject, block, text};

struct Sent {
    data: Value,
    message: Message,
}

impl Sent {
    fn is_block(&self) -> bool {
        self.data["type"] == "block"
    }
}

/// The data calls of the recording.
fn sent(subject: &mut Subject) -> Vec<Sent> {
    let lines =
        include_str!("../fixtures/agent_wire.jsonl").lines().filter(|line| !line.is_empty());
    let calls = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let data_calls = calls.filter(|call| call["path"] == "/data");
    data_calls
        .map(|call| {
            let data = call["body"]["data"].clone();
            let payload = Payload::new(Format::MessagePack, bytes_of(&call).into());
            let data_type = call["body"]["type"].as_str().unwrap();
            let agent = call["body"]["id"].as_str().unwrap();
            Sent { data, message: subject.samples.message_of(agent, data_type, payload) }
        })
        .collect()
}

/// The bytes of the data as the agent sent them; of the largest calls only the content is recorded.
fn bytes_of(call: &Value) -> Vec<u8> {
    let Some(body) = call["body_hex"].as_str() else {
        return rmp_serde::to_vec(&call["body"]["data"]).unwrap();
    };
    let after_key = body.strip_prefix("83a464617461").unwrap();
    let data = &after_key[..after_key.rfind("a26964b7").unwrap()];
    let byte = |at: usize| u8::from_str_radix(&data[at..at + 2], 16).unwrap();
    (0..data.len()).step_by(2).map(byte).collect()
}

#[tokio::test]
async fn every_block_of_a_real_agent_is_stored_field_by_field() {
    let mut subject = Subject::new().await;
    let sent = sent(&mut subject);
    let batch: Vec<_> = sent.iter().map(|sent| sent.message.clone()).collect();
    subject.store(&batch).await;
    let others = sent.len() - 4;
    assert_eq!(subject.counter("passed_over_messages"), others as u64);
    subject.store(&batch).await;
    let blocks: Vec<_> = sent.iter().filter(|sent| sent.is_block()).collect();
    let items = subject.items().await;
    assert_eq!((items.len(), blocks.len()), (4, 4));
    for (item, sent) in items.iter().zip(blocks) {
        let (time, id) = (sent.message.received_at().to_string(), sent.message.id().to_string());
        assert_eq!(text(item, "msg_type"), "block");
        assert_eq!(text(item, "msg_time"), time);
        assert_eq!(text(item, "message_id"), id);
        assert_eq!(item["payload"].as_m().unwrap().len(), 1);
        assert_eq!(item.len(), 4);
        let mut wanted = sent.data["body"].clone();
        for left_out in ["transactions", "uncles"] {
            assert!(wanted.as_object_mut().unwrap().remove(left_out).is_some(), "{left_out}");
        }
        assert_eq!(block(item), wanted);
    }
    assert_eq!(subject.counter("kept_as_text_messages"), 0);
}
