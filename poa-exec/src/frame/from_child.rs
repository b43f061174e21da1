use std::borrow::Cow;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame from a child.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    Ready(Ready),
    /// Every message of this batch is stored.
    Ack(u64),
    /// A transient error. Without an id: the child cannot start at present.
    Retry {
        id: Option<u64>,
        reason: String,
    },
    /// A permanent error for these items. Without an id: the child cannot start at all.
    Refuse {
        id: Option<u64>,
        items: Vec<usize>,
        reason: String,
    },
    Send {
        id: u64,
        messages: Vec<Sent<'a>>,
    },
    Ping {
        agent_id: Cow<'a, str>,
    },
    Bye {
        agent_id: Cow<'a, str>,
    },
    /// A heartbeat.
    Alive,
}

/// The properties of a child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) protocol: u64,
    /// Whether it wants to be notified of agents that become active or inactive.
    pub(crate) activity: bool,
    /// Whether it wants to be told when it starts.
    pub(crate) start: bool,
    /// The child hangs when it writes nothing for this many seconds.
    pub(crate) heartbeat: Option<NonZeroU32>,
    pub(crate) endpoints: Vec<String>,
}

/// A message from a handler.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent<'a> {
    #[serde(borrow)]
    pub(crate) agent_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
    /// Identifies a repetition of the same message.
    #[serde(borrow)]
    pub(crate) key: Option<Cow<'a, str>>,
    /// Values that are stored with the message and reach every receiver.
    #[serde(borrow)]
    pub(crate) assigns: Option<&'a RawValue>,
}

/// The reason why a line is not a valid frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("it is not a JSON object of the right shape")]
    Json(#[from] serde_json::Error),
    #[error("there is no frame of type `{0}`")]
    Type(String),
    #[error("a frame of type `{0}` needs `{1}`")]
    Missing(String, &'static str),
}

/// All keys of all frames; the type decides which of them are required. Unknown keys are ignored, so that the protocol
/// can grow.
#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    id: Option<u64>,
    protocol: Option<u64>,
    #[serde(default)]
    activity: bool,
    #[serde(default)]
    start: bool,
    heartbeat: Option<NonZeroU32>,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    items: Vec<usize>,
    reason: Option<String>,
    #[serde(borrow)]
    messages: Option<Vec<Sent<'a>>>,
    #[serde(borrow)]
    agent_id: Option<Cow<'a, str>>,
}

pub(crate) fn parse(line: &[u8]) -> Result<Frame<'_>, FrameError> {
    let keys: Keys<'_> = serde_json::from_slice(line)?;
    let kind = &keys.r#type;
    let missing = |key| FrameError::Missing(kind.clone().into_owned(), key);
    let id = || keys.id.ok_or_else(|| missing("id"));
    Ok(match &**kind {
        "ready" => Frame::Ready(Ready {
            protocol: keys.protocol.ok_or_else(|| missing("protocol"))?,
            activity: keys.activity,
            start: keys.start,
            heartbeat: keys.heartbeat,
            endpoints: keys.endpoints,
        }),
        "ack" => Frame::Ack(id()?),
        "retry" => {
            Frame::Retry { id: keys.id, reason: keys.reason.ok_or_else(|| missing("reason"))? }
        }
        "refuse" => Frame::Refuse {
            id: keys.id,
            items: keys.items,
            reason: keys.reason.ok_or_else(|| missing("reason"))?,
        },
        "send" => {
            let id = id()?;
            Frame::Send { id, messages: keys.messages.ok_or_else(|| missing("messages"))? }
        }
        "ping" => Frame::Ping { agent_id: keys.agent_id.ok_or_else(|| missing("agent_id"))? },
        "bye" => Frame::Bye { agent_id: keys.agent_id.ok_or_else(|| missing("agent_id"))? },
        "alive" => Frame::Alive,
        other => return Err(FrameError::Type(other.to_owned())),
    })
}

impl Frame<'_> {
    /// Its type, for error messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Ack(_) => "ack",
            Self::Retry { .. } => "retry",
            Self::Refuse { .. } => "refuse",
            Self::Send { .. } => "send",
            Self::Ping { .. } => "ping",
            Self::Bye { .. } => "bye",
            Self::Alive => "alive",
        }
    }

    /// The id that it answers, for error messages.
    pub(crate) fn shown_id(&self) -> String {
        match self {
            Self::Ack(id) | Self::Send { id, .. } => format!("`{id}`"),
            Self::Retry { id: Some(id), .. } | Self::Refuse { id: Some(id), .. } => {
                format!("`{id}`")
            }
            _ => "without an id".to_owned(),
        }
    }
}

/// A prefix of a line, short enough for a log.
pub(crate) fn excerpt(line: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST)]);
    let more = if line.len() > LONGEST { "…" } else { "" };
    format!("`{}{more}`", text.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(frame) => format!("{frame:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reads_every_frame() {
        for (line, expected) in [
            (
                r#"{"type":"ready","protocol":1,"later":[]}"#,
                "Ready(Ready { protocol: 1, activity: false, start: false, heartbeat: None, endpoints: [] })",
            ),
            (r#"{"type":"ack","id":7}"#, "Ack(7)"),
            (
                r#"{"type":"retry","id":7,"reason":"locked"}"#,
                r#"Retry { id: Some(7), reason: "locked" }"#,
            ),
            (
                r#"{"type":"refuse","id":7,"items":[1],"reason":"no"}"#,
                r#"Refuse { id: Some(7), items: [1], reason: "no" }"#,
            ),
            (
                r#"{"type":"send","id":1,"messages":[{"agent_id":"a","data_type":"t","data":{"n": 1}}]}"#,
                r#"Send { id: 1, messages: [Sent { agent_id: "a", data_type: "t", data: RawValue({"n": 1}), key: None, assigns: None }] }"#,
            ),
            (r#"{"type":"ping","agent_id":"a"}"#, r#"Ping { agent_id: "a" }"#),
            (r#"{"type":"bye","agent_id":"a"}"#, r#"Bye { agent_id: "a" }"#),
            (r#"{"type":"alive"}"#, "Alive"),
        ] {
            assert_eq!(said(line), expected);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(said("hello"), "it is not a JSON object of the right shape");
        assert_eq!(said(r#"{"type":"ack"}"#), "a frame of type `ack` needs `id`");
        assert_eq!(said(r#"{"type":"nack","id":1}"#), "there is no frame of type `nack`");
    }
}
