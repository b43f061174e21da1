//! Values at the edges of what DynamoDB holds, as they come back from it.

use aws_sdk_dynamodb::types::AttributeValue;
use poa_core::{AgentId, DataTypes, Draft, Message, MessageId, Payload, Timestamp};
use serde_json::json;

use crate::common::{Subject, permanent, text};

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

/// DynamoDB has taken empty texts since 2020; versions of DynamoDB Local from before refuse them. Either way nothing is lost.
#[tokio::test]
async fn an_empty_text_never_stops_a_batch() {
    let mut subject = Subject::new().await;
    let mut batch = subject.blocks(60);
    batch[30] = subject.block(r#"{"extraData":""}"#);
    batch.sort_by_key(Message::id);
    let index = batch.len() - 1;
    match subject.try_store(&batch).await {
        Ok(()) => subject.assert_stored(&batch).await,
        refused => {
            let (items, why) = permanent(refused);
            let id = batch[index].id();
            assert_eq!(items, [index]);
            assert!(
                why.starts_with(&format!("DynamoDB refuses the item of message {id}")),
                "{why}"
            );
            assert!(why.contains("ValidationException") && why.contains("empty string"), "{why}");
            subject.assert_stored(&batch[..index]).await;
        }
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

/// A block that this host received at this time, with this id.
fn block_at(micros: u64, id: u8) -> Message {
    let types = DataTypes::new(["ethereum_metrics"]).unwrap();
    let payload = Payload::json(&json!({"type": "block", "body": {"id": id}})).unwrap();
    let agent = AgentId::new("a1").unwrap();
    let draft = Draft::new(agent, types.get("ethereum_metrics").unwrap().clone(), payload);
    Message::stamp(draft, MessageId::from_bytes([id; 16]), Timestamp::from_micros(micros))
}

#[tokio::test]
async fn messages_of_one_microsecond_are_all_there_however_they_come() {
    let shared = Subject::new().await.config.shared();
    let mut subject = Subject::with(shared).await;
    let at = 1_769_860_800_000_001;
    let mut all: Vec<_> = (1..=5).map(|id| block_at(at, id)).collect();
    // In one batch, across batches, again with other bounds, one twice in a batch, and from another host.
    subject.store(&all[..2]).await;
    subject.store(&all[1..3]).await;
    subject.store(&[all[3].clone(), all[3].clone()]).await;
    let mut other = Subject::with(subject.config.clone()).await;
    other.store(&all[4..]).await;
    other.store(&all[..1]).await;
    all.push(block_at(at + 1, 0));
    subject.store(&all[5..]).await;
    subject.assert_stored(&all).await;
    let items = subject.items().await;
    assert!(text(&items[4], "msg_time").starts_with("2026-01-31T12:00:00.000001Z#0505"));
    assert!(text(&items[5], "msg_time").starts_with("2026-01-31T12:00:00.000002Z#0000"));
}
