//! Error reports: what peers tell a monitor about replies that failed.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Data;

/// The channel of the Go and Java libraries.
pub const ERRORS: &str = "gilmour.errors";
/// The channel of the Ruby library and the health monitor.
pub const ERROR: &str = "gilmour.error";
/// The list of the queue policy, the newest first.
pub const ERROR_QUEUE: &str = "gilmour.errorqueue";
/// How many reports the list keeps.
pub(crate) const QUEUE_LENGTH: usize = 10_000;

/// From this code on, a reply is reported.
pub(crate) const REPORTED_FROM: i64 = 300;

/// The policy for replies that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ErrorPolicy {
    /// Nothing.
    #[default]
    Ignore,
    /// Publish a report on both channels.
    Publish,
    /// Keep the newest 10,000 reports in a list.
    Queue,
}

/// A reply that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorReport {
    /// The code of the reply.
    pub code: i64,
    /// The sender of the request or signal.
    pub sender: String,
    /// The channel it came on.
    pub topic: String,
    /// The data of the request.
    pub request_data: Data,
    /// The data of the reply.
    pub user_data: String,
    /// The failure in words.
    pub backtrace: String,
    /// When it was written, RFC 3339; as it came, when it was read.
    pub timestamp: String,
}

/// All fields that any peer knows.
#[derive(Serialize)]
struct Packet<'a, D> {
    code: i64,
    sender: &'a str,
    topic: &'a str,
    request_data: D,
    user_data: &'a str,
    userdata: &'a str,
    backtrace: &'a str,
    timestamp: &'a str,
    multi_process: bool,
}

impl ErrorReport {
    /// The time of a report that is made now.
    #[must_use]
    pub fn now() -> String {
        humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
    }

    fn packet<D>(&self, request_data: D) -> Packet<'_, D> {
        Packet {
            code: self.code,
            sender: &self.sender,
            topic: &self.topic,
            request_data,
            user_data: &self.user_data,
            userdata: &self.user_data,
            backtrace: &self.backtrace,
            timestamp: &self.timestamp,
            multi_process: false,
        }
    }

    /// As Go and Java write it: bare, the request as a string of JSON. For [`ERRORS`] and [`ERROR_QUEUE`].
    #[must_use]
    pub fn bare(&self) -> String {
        // Texts and numbers have a JSON form.
        serde_json::to_string(&self.packet(self.request_data.json())).unwrap_or_default()
    }

    /// As Ruby writes it: within an envelope, the request as it is. For [`ERROR`].
    #[must_use]
    pub fn wrapped(&self, sender: &str) -> String {
        let packet = Data::new(&self.packet(&self.request_data)).unwrap_or_else(|_| Data::null());
        crate::envelope::write(&packet, 0, sender)
    }

    /// Reads a report of any peer: bare or within an envelope, in both spellings, and with the fields shifted as Go writes them.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(bytes)?;
        if value.get("topic").is_none()
            && let Some(packet) = value.get_mut("data").filter(|data| data.is_object())
        {
            value = packet.take();
        }
        let report = Self::of(&value);
        Ok(if report.is_shifted() { report.unshifted() } else { report })
    }

    fn of(value: &Value) -> Self {
        let text = |key: &str| match value.get(key) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        let user_data = Some(text("user_data")).filter(|text| !text.is_empty());
        Self {
            code: value.get("code").and_then(Value::as_i64).unwrap_or(0),
            sender: text("sender"),
            topic: text("topic"),
            request_data: request_data(value.get("request_data")),
            user_data: user_data.unwrap_or_else(|| text("userdata")),
            backtrace: text("backtrace"),
            timestamp: text("timestamp"),
        }
    }

    /// Go passes the arguments of a report in another order than it takes them.
    fn is_shifted(&self) -> bool {
        self.sender.starts_with("gilmour.") || self.envelope_in_topic().is_some()
    }

    fn envelope_in_topic(&self) -> Option<Value> {
        let value: Value = serde_json::from_str(&self.topic).ok()?;
        ["code", "sender", "data"].iter().all(|key| value.get(key).is_some()).then_some(value)
    }

    fn unshifted(self) -> Self {
        let said = match self.envelope_in_topic() {
            Some(envelope) => envelope.get("data").map(Value::to_string).unwrap_or_default(),
            None => self.topic,
        };
        Self {
            sender: self.user_data,
            topic: self.sender,
            // A slot's report has the signal there, a service's the reply.
            request_data: Data::parse(&said).unwrap_or_else(|_| Data::text(&said)),
            user_data: said,
            ..self
        }
    }
}

/// The data itself, or a string of its JSON.
fn request_data(value: Option<&Value>) -> Data {
    let data = match value {
        Some(Value::String(json)) => Data::parse(json).unwrap_or_else(|_| Data::text(json)),
        Some(value) => Data::new(value).unwrap_or_else(|_| Data::null()),
        None => Data::null(),
    };
    if data.json() == "\"\"" { Data::null() } else { data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ErrorReport {
        ErrorReport {
            code: 500,
            sender: "s".into(),
            topic: "gilmour.request.echo".into(),
            request_data: Data::parse(r#"{"a":1}"#).unwrap(),
            user_data: "\"broken\"".into(),
            backtrace: "broken".into(),
            timestamp: "2026-11-29T00:00:00Z".into(),
        }
    }

    #[test]
    fn both_forms_are_read_back() {
        assert_eq!(ErrorReport::read(report().bare().as_bytes()).unwrap(), report());
        assert_eq!(ErrorReport::read(report().wrapped("x").as_bytes()).unwrap(), report());
        let bare: Value = serde_json::from_str(&report().bare()).unwrap();
        assert_eq!(bare["request_data"], r#"{"a":1}"#);
        assert_eq!(
            (&bare["user_data"], &bare["userdata"]),
            (&bare["userdata"], &bare["user_data"])
        );
        let wrapped: Value = serde_json::from_str(&report().wrapped("x")).unwrap();
        assert_eq!(
            (&wrapped["code"], &wrapped["data"]["request_data"]["a"]),
            (&0.into(), &1.into())
        );
    }

    #[test]
    fn the_shifted_packets_of_go_are_understood() {
        // Scenario `slot_timeout_error` of v4, shortened.
        let slot = r#"{"backtrace":"","code":499,"multi_process":false,"request_data":"","sender":"gilmour.slot.slow",
            "timestamp":"2026-11-28T10:00:00+01:00","topic":"{\"a\":1}","user_data":"id-1"}"#;
        let read = ErrorReport::read(slot.as_bytes()).unwrap();
        assert_eq!((&*read.topic, &*read.sender), ("gilmour.slot.slow", "id-1"));
        assert_eq!(read.request_data.json(), r#"{"a":1}"#);
        let reply = r#"{"code":503,"sender":"gilmour.response.id-2","user_data":"id-2",
            "topic":"{\"data\":\"busy\",\"code\":503,\"sender\":\"gilmour.response.id-2\"}"}"#;
        let read = ErrorReport::read(reply.as_bytes()).unwrap();
        assert_eq!((&*read.topic, &*read.sender), ("gilmour.response.id-2", "id-2"));
        assert_eq!(&*read.user_data, "\"busy\"");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        assert!(ErrorReport::read(b"no").is_err());
        assert_eq!(ErrorReport::read(b"[]").unwrap().code, 0);
    }
}
