use std::borrow::Cow;
use std::io::Write as _;

use poa_core::{
    Activity, BuildContext, DataType, DeliveryError, Message, MessageType, PayloadError,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::PROTOCOL;
use crate::Options;

/// The last frame: exit once everything in flight is done.
pub(crate) const STOP: &[u8] = b"{\"type\":\"stop\"}\n";

#[derive(Serialize)]
struct Hello<'a> {
    r#type: &'static str,
    protocol: u64,
    role: &'static str,
    name: &'a str,
    data_dir: Cow<'a, str>,
    data_types: Vec<&'a str>,
    options: &'a Options,
}

/// The first frame: the role of the child.
pub(crate) fn hello(role: &'static str, cx: &BuildContext, options: &Options) -> Vec<u8> {
    // An absolute path, because the child can run in another directory.
    let data_dir = std::path::absolute(cx.data_dir());
    let data_dir = data_dir.as_deref().unwrap_or(cx.data_dir());
    line(&Hello {
        r#type: "hello",
        protocol: PROTOCOL,
        role,
        name: cx.name(),
        data_dir: data_dir.to_string_lossy(),
        data_types: cx.data_types().iter().map(DataType::name).collect(),
        options,
    })
}

/// Messages to store.
///
/// # Errors
/// For the first message whose payload has no JSON form: it can never be sent in a frame.
pub(crate) fn batch(id: u64, messages: &[Message]) -> Result<Vec<u8>, DeliveryError> {
    let bytes: usize = messages.iter().map(Message::footprint).sum();
    let mut frame = Vec::with_capacity(bytes + 128 * messages.len());
    frame.extend(format!(r#"{{"type":"batch","id":{id},"messages":["#).into_bytes());
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            frame.push(b',');
        }
        item(&mut frame, message).map_err(|e| DeliveryError::permanent_for(vec![index], e))?;
    }
    frame.extend(b"]}\n");
    Ok(frame)
}

/// One message. Encoded by hand, because this dominates the cost of a child process.
fn item(frame: &mut Vec<u8>, message: &Message) -> Result<(), PayloadError> {
    let data = message.payload().to_json()?;
    let data: &RawValue = serde_json::from_str(&data).map_err(PayloadError::Json)?;
    let kind = match message.message_type() {
        MessageType::Bye => "bye",
        _ => "data",
    };
    // Neither the id nor the time contains a character to escape, and writing to a vector cannot fail.
    let (id, at) = (message.id(), message.received_at());
    let _ = write!(frame, r#"{{"id":"{id}","received_at":"{at}","agent_id":"#);
    for (text, key) in [
        (message.agent_id().as_str(), r#","data_type":"#),
        (message.data_type().name(), r#","type":"#),
        (kind, r#","data":"#),
    ] {
        serde_json::to_writer(&mut *frame, text).map_err(PayloadError::Json)?;
        frame.extend_from_slice(key.as_bytes());
    }
    let begin = frame.len();
    frame.extend_from_slice(data.get().as_bytes());
    join_lines(&mut frame[begin..]);
    extras(frame, message);
    frame.push(b'}');
    Ok(())
}

/// The parts that few messages have. A child that does not know them ignores them.
fn extras(frame: &mut Vec<u8>, message: &Message) {
    if let Some(key) = message.idempotency_key() {
        let key = u128::from_be_bytes(*key.as_bytes());
        let _ = write!(frame, r#","idempotency_key":"{key:032x}""#);
    }
    if !message.assigns().is_empty() {
        let _ = write!(frame, r#","assigns":{}"#, message.assigns().to_json());
    }
}

/// A raw line feed in JSON occurs only between tokens, so a space can replace it.
fn join_lines(json: &mut [u8]) {
    let ends_line = |byte: u8| byte == b'\n' || byte == b'\r';
    // Agents hardly ever send one. A search without a branch for each byte makes the check cheap.
    if json.iter().fold(false, |any, byte| any | ends_line(*byte)) {
        json.iter_mut().filter(|byte| ends_line(**byte)).for_each(|byte| *byte = b' ');
    }
}

#[derive(Serialize)]
struct Start<'a> {
    r#type: &'static str,
    id: u64,
    name: &'a str,
}

/// The receiver of this name starts: the child can begin its work in the background.
pub(crate) fn start(id: u64, name: &str) -> Vec<u8> {
    line(&Start { r#type: "start", id, name })
}

#[derive(Serialize)]
struct Changes<'a> {
    r#type: &'static str,
    id: u64,
    agents: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    agent_id: &'a str,
    active: bool,
    since: poa_core::Timestamp,
}

/// Agents that became active or inactive.
pub(crate) fn activity(id: u64, agents: &[Activity]) -> Vec<u8> {
    let agents = agents.iter().map(|change| Change {
        agent_id: change.agent_id.as_str(),
        active: change.active,
        since: change.since,
    });
    line(&Changes { r#type: "activity", id, agents: agents.collect() })
}

/// The result for messages that a handler sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The delay in seconds after which the same messages can be sent again; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u32>,
}

#[derive(Serialize)]
struct Answer<'a> {
    r#type: &'static str,
    id: u64,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// The answer to a `send`.
pub(crate) fn result(id: u64, outcome: &Outcome) -> Vec<u8> {
    line(&Answer { r#type: "result", id, outcome })
}

fn line(frame: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(frame).expect("these types have a JSON form");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use poa_testkit::Samples;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_batch_is_one_line_whatever_the_agents_sent() {
        let mut samples = Samples::default();
        let pretty =
            samples.json("a", "system_metrics", "{\n \"n\": 1e999,\r\n \"t\": \"x\\ny\"\n}");
        let packed = poa_core::Payload::new(
            poa_core::Format::MessagePack,
            b"\x81\xa4load\xcb\x3f\xf8\0\0\0\0\0\0"[..].into(),
        );
        let packed = samples.message_of("b", "system_metrics", packed);
        let frame = batch(7, &[pretty.clone(), packed]).unwrap();
        assert_eq!(frame.iter().filter(|byte| **byte == b'\n').count(), 1);
        let text = String::from_utf8(frame).unwrap();
        assert!(text.contains(r#""data":{  "n": 1e999,   "t": "x\ny" }"#), "{text}");
        let frame: Value = serde_json::from_str(&text.replace("1e999", "1")).unwrap();
        assert_eq!((&frame["type"], &frame["id"]), (&json!("batch"), &json!(7)));
        let messages = &frame["messages"];
        assert_eq!(messages[0]["id"], pretty.id().to_string());
        assert_eq!(messages[0]["type"], "data");
        assert_eq!(messages[1]["data"], json!({"load": 1.5}));
    }

    #[test]
    fn assigns_and_keys_are_there_for_the_messages_that_have_them() {
        let mut samples = Samples::default();
        let draft = samples.draft("a", "system_metrics", &json!({}));
        let key = poa_core::IdempotencyKey::from_bytes([0xab; 16]);
        let assigns = poa_core::Assigns::new().with("peer", "10.0.0.1").unwrap();
        let full = samples.stamp(draft.clone().with_idempotency_key(key).with_assigns(assigns));
        let frame = batch(7, &[full, samples.stamp(draft)]).unwrap();
        let frame: Value = serde_json::from_slice(&frame).unwrap();
        let messages = &frame["messages"];
        assert_eq!(messages[0]["idempotency_key"], "ab".repeat(16));
        assert_eq!(messages[0]["assigns"], json!({"peer": "10.0.0.1"}));
        assert_eq!((messages[1].get("idempotency_key"), messages[1].get("assigns")), (None, None));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut samples = Samples::default();
        let good = samples.json("a", "system_metrics", "{}");
        let bad = samples.json("a", "system_metrics", r#"{"x":"#);
        let error = batch(1, &[good, bad]).unwrap_err();
        assert!(matches!(error, DeliveryError::Permanent { items, .. } if items == [1]));
    }

    #[test]
    fn a_result_says_when_to_try_again() {
        let refused = Outcome { ok: false, reason: Some("full".into()), retry_after: Some(5) };
        let expected = r#"{"type":"result","id":3,"ok":false,"reason":"full","retry_after":5}"#;
        assert_eq!(result(3, &refused), format!("{expected}\n").into_bytes());
        let taken = Outcome { ok: true, reason: None, retry_after: None };
        assert_eq!(result(4, &taken), b"{\"type\":\"result\",\"id\":4,\"ok\":true}\n");
    }
}
