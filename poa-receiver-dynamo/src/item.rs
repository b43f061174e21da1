//! Converts messages to items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use poa_core::{Message, MessageType, PayloadError};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::value::{Encoder, entries};

/// The partition key.
pub(crate) const MSG_TYPE: &str = "msg_type";
/// The sort key.
pub(crate) const MSG_TIME: &str = "msg_time";

/// The attribute that identifies the message.
pub(crate) const MESSAGE_ID: &str = "message_id";

/// The most bytes of an item: 400 KB.
const LARGEST: usize = 400 * 1024;

/// The keys that are left out of a block.
const LEFT_OUT: [&str; 2] = ["transactions", "uncles"];

/// The attributes of one message.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) attributes: HashMap<String, AttributeValue>,
    /// The size in the table, in bytes, as DynamoDB counts it.
    pub(crate) stored: usize,
    /// The most that it may take in a request, in bytes.
    pub(crate) sent: usize,
    /// A value that DynamoDB cannot represent was stored as text.
    pub(crate) as_text: bool,
}

/// The reason why a message can never become an item.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("the data cannot be read: {0}")]
    Payload(#[from] PayloadError),
    #[error("the data cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the item of message {id} would have {size} bytes, but DynamoDB accepts at most {LARGEST} (400 KB); send smaller blocks"
    )]
    TooLarge { id: String, size: usize },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// The way sort keys are made. A key depends on its message alone, so an item that is written again replaces itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SortKeys {
    /// Several hosts, unaware of each other's messages, write to one table.
    pub(crate) shared: bool,
}

impl SortKeys {
    /// The time of receipt, and the id if another message can have the same time.
    fn of(self, message: &Message) -> String {
        let (id, time) = (message.id(), message.received_at());
        if !self.shared && id.time() == time && id.sequence() == 0 {
            return time.to_string();
        }
        format!("{time}#{id}")
    }
}

/// Returns the item of a block; none when the message is not a block.
///
/// # Errors
/// When the data is malformed, `type` or `body` occurs twice in it, or the item is too large.
pub(crate) fn item(message: &Message, keys: SortKeys) -> Result<Option<Item>, Unfit> {
    if message.message_type() != MessageType::Data
        || message.data_type().name() != "ethereum_metrics"
    {
        return Ok(None);
    }
    let json = message.payload().to_json()?;
    let envelope: Envelope<'_> = serde_json::from_str(&json)?;
    if !envelope.kind.is_some_and(is_block) {
        return Ok(None);
    }
    let item = block(message, keys.of(message), envelope.body);
    if item.stored > LARGEST {
        return Err(Unfit::TooLarge { id: message.id().to_string(), size: item.stored });
    }
    Ok(Some(item))
}

fn is_block(kind: &RawValue) -> bool {
    serde_json::from_str::<String>(kind.get()).is_ok_and(|kind| kind == "block")
}

fn block(message: &Message, sort_key: String, body: Option<&RawValue>) -> Item {
    let mut encoder = Encoder::default();
    let mut attributes = HashMap::with_capacity(4);
    for (name, text) in [
        (MSG_TYPE, "block".to_owned()),
        (MSG_TIME, sort_key),
        (MESSAGE_ID, message.id().to_string()),
    ] {
        let value = encoder.text(text);
        encoder.insert(&mut attributes, name, value);
    }
    // The block is in the map of the payload.
    let block = match body {
        Some(body) => without_transactions(&mut encoder, body, 1),
        None => encoder.null(),
    };
    encoder.container(1);
    let mut payload = HashMap::with_capacity(1);
    encoder.insert(&mut payload, "block", block);
    encoder.insert(&mut attributes, "payload", AttributeValue::M(payload));
    let Encoder { stored, sent, as_text } = encoder;
    Item { attributes, stored, sent, as_text }
}

fn without_transactions(encoder: &mut Encoder, body: &RawValue, depth: usize) -> AttributeValue {
    let Some(mut entries) = entries(body) else { return encoder.value(body, depth) };
    entries.retain(|(name, _)| !LEFT_OUT.contains(&&**name));
    encoder.map(entries, depth).unwrap_or_else(|| encoder.as_text(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use poa_testkit::Samples;

    fn from_json(data: &str) -> Result<Option<Item>, Unfit> {
        item(&Samples::default().json("a1", "ethereum_metrics", data), SortKeys::default())
    }

    /// Returns the stored block of this body.
    fn stored(body: &str) -> AttributeValue {
        let item = from_json(&format!(r#"{{"type":"block","body":{body}}}"#)).unwrap().unwrap();
        item.attributes["payload"].as_m().unwrap()["block"].clone()
    }

    fn text(text: &str) -> AttributeValue {
        AttributeValue::S(text.into())
    }

    fn map<const N: usize>(entries: [(&str, AttributeValue); N]) -> AttributeValue {
        AttributeValue::M(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }

    #[test]
    fn a_block_without_what_is_left_out() {
        let body = r#"{"number":7,"transactions":[{"a":1}],"uncles":["x"],"nested":{"uncles":[]}}"#;
        let nested = map([("uncles", AttributeValue::L(vec![]))]);
        assert_eq!(
            stored(body),
            map([("number", AttributeValue::N("7".into())), ("nested", nested)])
        );
    }

    #[test]
    fn the_keys_depend_on_the_message_alone() {
        let message =
            Samples::default().json("a1", "ethereum_metrics", r#"{"type":"block","body":{}}"#);
        let item = item(&message, SortKeys { shared: true }).unwrap().unwrap();
        assert_eq!(item.attributes["msg_type"], text("block"));
        let (time, id) = (message.received_at().to_string(), message.id().to_string());
        assert_eq!(item.attributes["msg_time"], text(&format!("{time}#{id}")));
        assert_eq!(item.attributes["message_id"], text(&id));
        assert_eq!(item.attributes.len(), 4);
    }

    #[test]
    fn the_first_message_of_its_microsecond_has_its_time_alone_for_a_key() {
        let message = Samples::from_now().json("a1", "ethereum_metrics", "{}");
        let time = message.received_at().to_string();
        assert_eq!(SortKeys::default().of(&message), time);
        assert!(SortKeys { shared: true }.of(&message).starts_with(&format!("{time}#")));
    }

    #[test]
    fn what_is_no_block_is_passed_over() {
        let mut samples = Samples::default();
        let block = r#"{"type":"block","body":{}}"#;
        let other = samples.json("a1", "system_metrics", block);
        assert!(item(&other, SortKeys::default()).unwrap().is_none());
        for data in
            ["{}", r#"{"type":"statistics","body":{}}"#, r#"{"type":7}"#, r#"{"type":"Block"}"#]
        {
            assert!(from_json(data).unwrap().is_none(), "{data}");
        }
        assert!(from_json(r#"{"type":"bl\u006fck","body":{}}"#).unwrap().is_some());
    }

    #[test]
    fn a_body_may_be_anything() {
        assert_eq!(stored("null"), AttributeValue::Null(true));
        assert_eq!(stored("true"), AttributeValue::Bool(true));
        assert_eq!(stored("[1]"), AttributeValue::L(vec![AttributeValue::N("1".into())]));
        assert_eq!(stored(r#""""#), text(""));
        assert!(from_json(r#"{"type":"block"}"#).unwrap().is_some());
    }

    #[test]
    fn what_dynamodb_cannot_hold_stays_as_its_json() {
        for json in [
            "340282366920938463463374607431768211456",
            "1e999",
            r#"{"":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{ "a" : {}, "a" : [ ] }"#,
            r#""\ud800""#,
            r#"{"\udc00":1}"#,
        ] {
            assert_eq!(stored(&format!(r#"{{"n":{json}}}"#)), map([("n", text(json))]), "{json}");
        }
        let body = r#"{"number":1,"number":2}"#;
        assert_eq!(stored(body), text(body));
    }

    #[test]
    fn what_is_nested_too_deep_stays_as_its_json() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let mut value = stored(&deep);
        let mut levels = 1;
        while let AttributeValue::L(mut items) = value {
            levels += 1;
            value = items.remove(0);
        }
        let left = 40 - (levels - 1);
        assert_eq!(levels, 31, "the payload is one of them");
        assert_eq!(value, text(&format!("{}{}", "[".repeat(left), "]".repeat(left))));
    }

    #[test]
    fn what_cannot_be_read_or_is_ambiguous_is_refused() {
        for data in [
            r#"{"type":"block","#,
            r#"{"type":"block","type":"block"}"#,
            r#"{"type":"block","body":1,"body":2}"#,
        ] {
            let error = from_json(data).unwrap_err().to_string();
            assert!(error.starts_with("the data cannot be read: "), "{error}");
        }
    }

    #[test]
    fn a_block_too_large_is_refused_with_its_size() {
        let with = |size: usize| {
            from_json(&format!(r#"{{"type":"block","body":{{"x":"{}"}}}}"#, "x".repeat(size)))
        };
        let around = with(0).unwrap().unwrap().stored;
        assert_eq!(with(LARGEST - around).unwrap().unwrap().stored, LARGEST);
        let error = with(LARGEST - around + 1).unwrap_err().to_string();
        assert!(error.contains("would have 409601 bytes"), "{error}");
    }
}
