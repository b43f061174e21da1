//! Values at the edges of what DynamoDB holds, as they come back from it.

use aws_sdk_dynamodb::types::AttributeValue;
use poa_core::{AgentId, DataTypes, Draft, Message, MessageId, Payload, Timestamp};
use serde_json::json;

use crate::common::{Subject, permanent, text, transient};

/// Stores a block with this body; the block that is there then.
async fn stored(subject: &mut Subject, body: &str) -> AttributeValue {
    let message = subject.block(body);
    subject.store(&[message]).await;
    let items = subject.items().await;
    items.last().unwrap()["payload"].as_m().unwrap()["block"].clone()
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

#[tokio::test]
async fn numbers_keep_all_digits() {
    let mut subject = Subject::new().await;
    for (json, wanted) in [
        ("20000000000", "20000000000"),
        ("1267650600228229401496703205376", "1267650600228229401496703205376"),
        ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ("-0.12345678901234567890123456789012345678", "-0.12345678901234567890123456789012345678"),
        ("-0.0", "0"),
    ] {
        assert_eq!(stored(&mut subject, json).await, AttributeValue::N(wanted.into()), "{json}");
    }
    // Some versions write these in another way than others.
    let zeros = format!("1{}", "0".repeat(125));
    for (json, wanted) in [("1.10", 1.1), ("12e2", 1200.0), ("1e-130", 1e-130), (&zeros, 1e125)] {
        assert_eq!(stored(&mut subject, json).await.as_n().unwrap().parse(), Ok(wanted), "{json}");
    }
}

#[tokio::test]
async fn what_dynamodb_cannot_hold_is_text_and_counted() {
    let mut subject = Subject::new().await;
    let wide = "340282366920938463463374607431768211456";
    let deep = format!("{}7{}", "[".repeat(3000), "]".repeat(3000));
    for json in [wide, "1e126", "-1e-131", r#"{"":1}"#, r#"{"a":1,"a":2}"#, r#""\ud800""#] {
        assert_eq!(stored(&mut subject, json).await, string(json));
    }
    let mut value = stored(&mut subject, &deep).await;
    let mut levels = 0;
    while let AttributeValue::L(mut items) = value {
        levels += 1;
        value = items.remove(0);
    }
    assert_eq!(value, string(&deep[levels..deep.len() - levels]));
    assert_eq!(subject.counter("kept_as_text_messages"), 7);
}

#[tokio::test]
async fn any_text_and_any_empty_thing() {
    let mut subject = Subject::new().await;
    let body = json!({"nul": "a\0b", "crab": "🦀", "quote": "\"'\\", "\0": "\u{7f}\n", "number": "x".repeat(300),
        "list": [], "map": {}, "nested": [[], {}, null, false]});
    let message = subject.block(&body.to_string());
    subject.store(&[message]).await;
    assert_eq!(crate::common::block(&subject.items().await[0]), body);
}

/// DynamoDB has taken empty texts since 2020; versions of DynamoDB Local from before refuse them.
async fn takes_empty_texts(subject: &Subject) -> bool {
    let text = |text: &str| AttributeValue::S(text.into());
    let put = subject.client.put_item().table_name(&subject.config.table);
    let put = put.item("msg_type", text("other")).item("msg_time", text("t")).item("x", text(""));
    put.send().await.is_ok()
}

/// It becomes what the server makes of it, whichever that is, and nothing else is lost by it.
#[tokio::test]
async fn an_empty_text_never_stops_a_batch() {
    let mut subject = Subject::new().await;
    let mut batch = subject.blocks(60);
    batch.push(subject.block(r#"{"extraData":""}"#));
    let result = subject.try_store(&batch).await;
    if takes_empty_texts(&subject).await {
        result.unwrap();
        subject.assert_stored(&batch).await;
    } else {
        let (items, why) = permanent(result);
        assert_eq!(items, [60]);
        let id = batch[60].id();
        let cause = format!("DynamoDB refuses the item of message {id}: ValidationException: ");
        assert!(why.starts_with(&cause) && why.contains("empty string"), "{why}");
        subject.assert_stored(&batch[..60]).await;
    }
}

/// A block with this many bytes of text in it.
fn large(subject: &mut Subject, size: usize) -> Message {
    subject.block(&format!(r#"{{"data":"{}","more":[-1.5,{{"a":null}}]}}"#, "x".repeat(size)))
}

#[tokio::test]
async fn an_item_too_large_is_named_with_its_size_and_the_others_are_stored() {
    let mut subject = Subject::new().await;
    let mut batch = subject.blocks(3);
    batch.extend([500_000, 409_000, 409_600].map(|size| large(&mut subject, size)));
    let (items, why) = permanent(subject.try_store(&batch).await);
    assert_eq!(items, [3]);
    assert!(why.contains("would have 5001") && why.contains("400 KB"), "{why}");
    batch.remove(3);
    let (items, why) = permanent(subject.try_store(&batch).await);
    assert_eq!(items, [4]);
    assert!(why.contains("would have 4097"), "{why}");
    batch.remove(4);
    subject.store(&batch).await;
    subject.assert_stored(&batch).await;
}

#[tokio::test]
async fn an_item_may_have_all_the_bytes_that_dynamodb_takes() {
    let mut subject = Subject::new().await;
    let message = large(&mut subject, 409_600);
    let (_, why) = permanent(subject.try_store(&[message]).await);
    let size = why.split_once("would have ").unwrap().1.split(' ').next().unwrap();
    let over = size.parse::<usize>().unwrap() - 409_600;
    let largest = large(&mut subject, 409_600 - over);
    subject.store(std::slice::from_ref(&largest)).await;
    subject.assert_stored(&[largest]).await;
    // What is counted is what DynamoDB counts: one byte more is one too many there as well.
    let mut item = subject.items().await.remove(0);
    item.insert("message_id".into(), AttributeValue::S("x".repeat(37)));
    let put = subject.client.put_item().table_name(&subject.config.table).set_item(Some(item));
    let error = put.send().await.unwrap_err().into_service_error();
    assert!(format!("{error:?}").contains("exceeded the maximum allowed size"), "{error:?}");
}

#[tokio::test]
async fn a_batch_of_large_items_goes_in_requests_that_dynamodb_takes() {
    let mut subject = Subject::new().await;
    // Each byte takes six in a request: 12 MB for the five.
    let large = format!(r#"{{"data":"{}"}}"#, r"\u0001".repeat(400_000));
    let list = format!(r#"{{"data":[{}1]}}"#, "1,".repeat(100_000));
    let batch: Vec<_> =
        (0..10).map(|n| subject.block(if n % 2 == 0 { &large } else { &list })).collect();
    subject.store(&batch).await;
    subject.assert_stored(&batch).await;
}

/// The id of the message that this host received as this one of a microsecond.
fn id_at(micros: u64, sequence: u32, host: u64) -> MessageId {
    let (millis, micros, sequence) =
        (u128::from(micros / 1000), micros % 1000, u64::from(sequence));
    let high = 7 << 12 | micros << 2 | sequence >> 18;
    let low = 1 << 63 | (sequence & 0x3_ffff) << 44 | host;
    MessageId::from_bytes((millis << 80 | u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

/// A block received at this time, with this id.
fn block_at(micros: u64, id: MessageId) -> Message {
    let types = DataTypes::new(["ethereum_metrics"]).unwrap();
    let payload = Payload::json(&json!({"type": "block", "body": {"id": id.to_string()}})).unwrap();
    let agent = AgentId::new("a1").unwrap();
    let draft = Draft::new(agent, types.get("ethereum_metrics").unwrap().clone(), payload);
    Message::stamp(draft, id, Timestamp::from_micros(micros))
}

/// 2026-01-31T12:00:00.000001Z
const AT: u64 = 1_769_860_800_000_001;

/// The sort keys of the blocks in the table.
async fn times(subject: &Subject) -> Vec<String> {
    subject.items().await.iter().map(|item| text(item, "msg_time").to_owned()).collect()
}

#[tokio::test]
async fn messages_of_one_microsecond_get_the_time_and_then_ids() {
    let mut subject = Subject::new().await;
    let all: Vec<_> = (0..4).map(|n| block_at(AT, id_at(AT, n, 7))).collect();
    assert_eq!((all[3].id().time().as_micros(), all[3].id().sequence()), (AT, 3));
    // In one batch, across batches, again with other bounds, one twice in a batch, and after a restart.
    subject.store(&all[..2]).await;
    subject.store(&all[1..3]).await;
    subject.store(&[all[3].clone(), all[3].clone()]).await;
    let mut subject = subject.again().await;
    subject.store(&all[..1]).await;
    subject.assert_stored(&all).await;
    let time = "2026-01-31T12:00:00.000001Z";
    let with_id = |n: usize| format!("{time}#{}", all[n].id());
    assert_eq!(times(&subject).await, [time.into(), with_id(1), with_id(2), with_id(3)]);
}

/// Without any setting: neither knows of the other, and each has the first message of a microsecond.
#[tokio::test]
async fn hosts_that_share_a_table_replace_nothing_of_each_other() {
    let mut first = Subject::new().await;
    let mut second = Subject::with(first.config.clone()).await;
    let mut third = Subject::with(first.config.clone()).await;
    let all: Vec<_> = (1..=3).map(|host| block_at(AT, id_at(AT, 0, host))).collect();
    third.store(&all[2..]).await;
    second.store(&all[1..2]).await;
    first.store(&all[..1]).await;
    // However often they are restarted, in any order.
    second.again().await.store(&all[1..2]).await;
    first.again().await.store(&all[..1]).await;
    first.assert_stored(&all).await;
    let times = times(&first).await;
    assert_eq!(times[0], "2026-01-31T12:00:00.000001Z");
    assert_eq!(times[1], format!("2026-01-31T12:00:00.000001Z#{}", all[1].id()));
}

/// The host that creates the table again has the times without an id.
#[tokio::test]
async fn hosts_that_share_a_table_still_do_when_it_is_made_anew() {
    let first = Subject::new().await;
    let mut second = Subject::with(first.config.clone()).await;
    first.client.delete_table().table_name(&first.config.table).send().await.unwrap();
    let all: Vec<_> = (1..=2).map(|host| block_at(AT, id_at(AT, 0, host))).collect();
    assert!(transient(second.try_store(&all[1..]).await).contains("does not exist"));
    second.store(&all[1..]).await;
    first.again().await.store(&all[..1]).await;
    assert_eq!(first.items().await.len(), 2);
}

#[tokio::test]
async fn every_time_has_an_id_in_a_table_that_is_said_to_be_shared() {
    let shared = Subject::new().await.config.shared();
    let mut subject = Subject::with(shared).await;
    let mut all: Vec<_> = (1..=5).map(|host| block_at(AT, id_at(AT, 0, host))).collect();
    // In one batch, across batches, again with other bounds, one twice in a batch, and from another host.
    subject.store(&all[..2]).await;
    subject.store(&all[1..3]).await;
    subject.store(&[all[3].clone(), all[3].clone()]).await;
    let mut other = Subject::with(subject.config.clone()).await;
    other.store(&all[4..]).await;
    other.store(&all[..1]).await;
    all.push(block_at(AT + 1, id_at(AT + 1, 0, 1)));
    subject.store(&all[5..]).await;
    subject.assert_stored(&all).await;
    let times = times(&subject).await;
    for (time, message) in times.iter().zip(&all) {
        assert_eq!(*time, format!("{}#{}", message.received_at(), message.id()));
    }
}
