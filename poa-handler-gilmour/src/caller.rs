//! Calls of a node, and the meaning of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use poa_core::async_trait;
use poa_gilmour::{BAD_ANSWER, Call, Data, Handler, Message, TIMED_OUT, UNAVAILABLE};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::exchange::{Answer, Exchange, ExchangeError, Room};
use crate::traffic::Traffic;

/// Calls the handlers of one node.
#[derive(Debug)]
pub(crate) struct Caller {
    exchange: Arc<Exchange>,
    /// Calls go to `/` and name the handler in the body.
    legacy: bool,
    keep_success_codes: bool,
    room: Room,
    calls: Semaphore,
    pub(crate) made: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// The settings that all callers of a gateway share.
#[derive(Clone, Debug)]
pub(crate) struct CallRules {
    pub(crate) keep_success_codes: bool,
    pub(crate) room: Room,
    pub(crate) calls: usize,
}

/// The body of a call.
#[derive(Serialize)]
struct Body<'a> {
    topic: &'a str,
    sender: &'a str,
    data: &'a Data,
    timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler_path: Option<&'a str>,
}

impl Caller {
    pub(crate) fn new(exchange: Arc<Exchange>, legacy: bool, rules: &CallRules) -> Self {
        Self {
            exchange,
            legacy,
            keep_success_codes: rules.keep_success_codes,
            room: rules.room.clone(),
            calls: Semaphore::new(rules.calls.min(Semaphore::MAX_PERMITS)),
            made: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Calls the handler at a path. Dropped, it closes the connection.
    async fn call(&self, path: &str, body: Body<'_>) -> Message {
        let Ok(_permit) = self.calls.try_acquire() else {
            return Message::failure(
                UNAVAILABLE,
                "too many calls of this node are under way; try again later",
            );
        };
        // Texts, numbers and JSON have a JSON form.
        let body = serde_json::to_string(&body).unwrap_or_default();
        let to = if self.legacy { "/" } else { path };
        let message = match self.exchange.post(to, body, &self.room).await {
            Ok(answer) => self.message_of(answer),
            Err(error) => failure_of(&error),
        };
        self.made.fetch_add(1, Relaxed);
        if !message.is_success() {
            self.failed.fetch_add(1, Relaxed);
        }
        message
    }

    /// A lambda of a composition: `topic` is empty, since nothing was published.
    pub(crate) async fn lambda(&self, path: &str, data: &Data, timeout: Duration) -> Message {
        let body = Body {
            topic: "",
            sender: "",
            data,
            timeout: timeout.as_secs(),
            handler_path: Some(path),
        };
        let called = tokio::time::timeout(timeout, self.call(path, body)).await;
        called.unwrap_or_else(|_| Message::timeout(TIMED_OUT))
    }

    fn message_of(&self, Answer { status, body }: Answer) -> Message {
        let code = match status.as_u16() {
            code @ 200..=299 if self.keep_success_codes => code,
            200..=299 => 200,
            code @ 400..=599 => code,
            other => {
                let text = format!(
                    "the node answered with status {other}, which is neither a result nor an error"
                );
                return Message::failure(BAD_ANSWER, &text);
            }
        };
        Message::new(data_of(&body), code.into())
    }
}

/// JSON as it is, nothing as `null`, other text as a string.
fn data_of(body: &[u8]) -> Data {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Data::null();
    }
    Data::from_slice(body).unwrap_or_else(|_| Data::text(&String::from_utf8_lossy(body)))
}

fn failure_of(error: &ExchangeError) -> Message {
    let code = if matches!(error, ExchangeError::Busy) { UNAVAILABLE } else { BAD_ANSWER };
    Message::failure(code, &error.to_string())
}

/// A service or slot of a node, as the engine calls it.
#[derive(Debug)]
pub(crate) struct NodeHandler {
    pub(crate) caller: Arc<Caller>,
    pub(crate) path: String,
    pub(crate) traffic: Arc<Traffic>,
}

/// Codes from here on are failures.
const FAILURE: i64 = 300;

#[async_trait]
impl Handler for NodeHandler {
    async fn handle(&self, call: Call) -> Message {
        let body = Body {
            topic: &call.topic,
            sender: &call.sender,
            data: &call.data,
            timeout: call.timeout.as_secs(),
            handler_path: self.caller.legacy.then_some(&self.path),
        };
        let running = self.traffic.begin();
        let message = self.caller.call(&self.path, body).await;
        running.end(message.code >= FAILURE);
        message
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::definition::Target;

    fn caller(keep_success_codes: bool) -> Caller {
        let exchange = Exchange::new(Target::Tcp { host: "127.0.0.1".into(), port: 1 });
        let room = Room { most: 1000, memory: None };
        Caller::new(exchange, false, &CallRules { keep_success_codes, room, calls: 1 })
    }

    fn message(keep: bool, status: u16, body: &str) -> (i64, String) {
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), body: body.into() };
        let message = caller(keep).message_of(answer);
        (message.code, message.data.json().to_owned())
    }

    #[test]
    fn answers_become_messages() {
        let is = |code, data: &str| (code, data.to_owned());
        assert_eq!(message(false, 200, r#"{"a":1.10}"#), is(200, r#"{"a":1.10}"#));
        assert_eq!(message(false, 201, ""), is(200, "null"));
        assert_eq!(message(true, 201, " \n"), is(201, "null"));
        assert_eq!(message(false, 418, "short and stout"), is(418, r#""short and stout""#));
        assert_eq!(message(false, 503, "[1]"), is(503, "[1]"));
        assert_eq!(message(false, 302, "").0, 502);
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_502_without_a_trace() {
        let message = caller(false).lambda("/x", &Data::null(), Duration::from_secs(60)).await;
        assert_eq!(message.code, 502);
        assert!(
            message.data.json().starts_with("\"the node refused the connection"),
            "{message:?}"
        );
    }
}
