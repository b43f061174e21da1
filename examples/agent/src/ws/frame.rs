//! The frames on the wire: calls out, answers in.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::refusal::{Refusal, describe, one_line};
use crate::{AgentId, BoxError, Metric};

#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    Ping,
    Data(&'a Metric),
    Bye,
}

impl Call<'_> {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Data(_) => "data",
            Self::Bye => "bye",
        }
    }

    /// The call of `id` as MessagePack; its answer will carry `reference`.
    pub(super) fn encode(&self, id: &AgentId, reference: u64) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.size_hint(id));
        // A map by hand, so that the measured object goes in as the bytes it already is.
        frame.push(if matches!(self, Self::Data(_)) { 0x86 } else { 0x83 });
        push_text(&mut frame, "call", self.name());
        push_text(&mut frame, "id", id.as_str());
        rmp_serde::encode::write(&mut frame, &("ref")).expect("a string can always be appended");
        rmp_serde::encode::write(&mut frame, &reference).expect("a number can always be appended");
        if let Self::Data(metric) = self {
            let mut key = uuid::Uuid::encode_buffer();
            push_text(
                &mut frame,
                "idempotency_key",
                metric.key().hyphenated().encode_lower(&mut key),
            );
            push_text(&mut frame, "type", metric.data_type());
            rmp_serde::encode::write(&mut frame, "data").expect("a string can always be appended");
            frame.extend_from_slice(metric.data());
        }
        frame
    }

    fn size_hint(&self, id: &AgentId) -> usize {
        let metric = match self {
            Self::Data(metric) => 100 + metric.data().len(),
            Self::Ping | Self::Bye => 0,
        };
        40 + id.as_str().len() + metric
    }
}

fn push_text(frame: &mut Vec<u8>, name: &str, text: &str) {
    for part in [name, text] {
        rmp_serde::encode::write(frame, part).expect("a string can always be appended");
    }
}

/// The answer to one call.
#[derive(Debug)]
pub(super) struct Answer {
    /// `None` if it answers nothing in particular: then something of ours could not be read.
    pub(super) reference: Option<u64>,
    pub(super) outcome: Result<(), Refusal>,
}

#[derive(Deserialize)]
struct Wire {
    result: String,
    #[serde(rename = "ref", default)]
    reference: Option<u64>,
    #[serde(default)]
    payload: Payload,
}

/// Empty for a success.
#[derive(Deserialize, Default)]
struct Payload {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    retry_after: Option<u64>,
}

impl Answer {
    /// Reads a text frame as JSON and any other as MessagePack.
    pub(super) fn read(message: &tokio_websockets::Message) -> Result<Self, BoxError> {
        let bytes = message.as_payload();
        let wire: Wire = if message.is_text() {
            serde_json::from_slice(bytes)?
        } else {
            rmp_serde::from_slice(bytes)?
        };
        Ok(Self { reference: wire.reference, outcome: wire.payload.into_outcome(&wire.result) })
    }
}

impl Payload {
    fn into_outcome(self, result: &str) -> Result<(), Refusal> {
        if result == "success" {
            return Ok(());
        }
        Err(Refusal {
            // What has no status is not known to be final, so it is tried again.
            status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            retry_after: self.retry_after.map(Duration::from_secs),
            message: one_line(&describe(&self.code, &self.message)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio_websockets::Message;

    use super::*;

    fn encoded(call: Call<'_>) -> Value {
        rmp_serde::from_slice(&call.encode(&"a1".parse().unwrap(), 300)).unwrap()
    }

    #[test]
    fn calls_have_the_fields_of_the_protocol() {
        assert_eq!(encoded(Call::Ping), json!({"call": "ping", "id": "a1", "ref": 300}));
        assert_eq!(encoded(Call::Bye), json!({"call": "bye", "id": "a1", "ref": 300}));
        let metric = Metric::new("system_metrics", "statistics", &1).unwrap();
        let expected = json!({
            "call": "data", "id": "a1", "ref": 300, "type": "system_metrics",
            "idempotency_key": metric.key().to_string(),
            "data": {"type": "statistics", "body": 1},
        });
        assert_eq!(encoded(Call::Data(&metric)), expected);
    }

    #[test]
    fn answers_are_read_in_both_formats() {
        let good = json!({"result": "success", "ref": 7, "payload": {}});
        let bad = json!({"result": "error", "ref": null, "payload":
            {"code": "backlog_full", "status": 503, "message": "later", "retry_after": 2}});
        let both = |value: &Value| {
            let packed = Message::binary(rmp_serde::to_vec_named(value).unwrap());
            [packed, Message::text(value.to_string())].map(|frame| Answer::read(&frame).unwrap())
        };
        for answer in both(&good) {
            assert_eq!(answer.reference, Some(7));
            assert!(answer.outcome.is_ok());
        }
        for answer in both(&bad) {
            assert_eq!(answer.reference, None);
            let refusal = answer.outcome.unwrap_err();
            assert_eq!((refusal.status.as_u16(), &*refusal.message), (503, "backlog_full, later"));
            assert_eq!(refusal.retry_after, Some(Duration::from_secs(2)));
        }
        assert!(Answer::read(&Message::text("hello")).is_err());
    }
}
