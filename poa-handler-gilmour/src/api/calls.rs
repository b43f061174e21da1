//! Requests, signals and compositions: of nodes, or of who has the token.

use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, Request, StatusCode};
use poa_core::async_trait;
use poa_gilmour::compose::{Bounds, Caller, Watcher};
use poa_gilmour::engine::{Signal, SignalError};
use poa_gilmour::{Composition, Data, Engine, Kind, Message, RequestError, Response, Topic};
use poa_http::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::nodes::not_json;
use super::progress::{self, Progress};
use super::{Answer, Api, Refusal, json_answer};
use crate::config::CompositionAnswer;
use crate::definition;
use crate::node::{Node, Status};

/// The body that a node sends. Old clients write the time into `opts`, and the input of a composition into `data`.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(default)]
    topic: Option<String>,
    #[serde(borrow, default)]
    composition: Option<&'a RawValue>,
    #[serde(default)]
    message: Option<Data>,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    timeout: Option<Value>,
    #[serde(default)]
    opts: Option<Opts>,
}

#[derive(Deserialize)]
struct Opts {
    #[serde(default)]
    timeout: Option<Value>,
}

impl Asked<'_> {
    fn read(bytes: &[u8]) -> Result<Asked<'_>, Refusal> {
        // A structure may also be read from an array, which is not expected here.
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => serde_json::from_slice(bytes).map_err(|error| not_json(&error)),
            _ => Err(Refusal::bad("the body must be a JSON object")),
        }
    }

    fn timeout(&self, default: Duration) -> Result<Duration, Refusal> {
        let within = self.opts.as_ref().and_then(|opts| opts.timeout.as_ref());
        let given = self.timeout.as_ref().or(within).filter(|value| !value.is_null());
        let seconds = given.map(definition::seconds).transpose()?.flatten();
        Ok(seconds.map_or(default, Duration::from_secs))
    }

    fn composition(&self) -> Option<&str> {
        self.composition.map(RawValue::get).filter(|json| *json != "null")
    }

    fn input(&self) -> Data {
        self.message.clone().or_else(|| self.data.clone()).unwrap_or_else(Data::null)
    }
}

fn topic(text: Option<&str>, kind: Kind) -> Result<Topic, Refusal> {
    let text = text.ok_or_else(|| Refusal::bad("`topic` is missing"))?;
    let topic = Topic::new(text).map_err(|why| Refusal::bad(&format!("topic `{text}`: {why}")))?;
    if topic.is_foreign_to(kind) {
        return Err(Refusal::bad(&format!(
            "`{topic}` is reserved: it names a channel of another kind"
        )));
    }
    Ok(topic)
}

impl Api {
    /// The node that asks, if it may; none when the token speaks.
    fn asking(&self, id: Option<&str>, headers: &HeaderMap) -> Result<Option<Arc<Node>>, Refusal> {
        let Some(id) = id else { return self.access.check(headers).map(|()| None) };
        let node = self.gateway.find(id)?;
        match node.status() {
            Status::Ok => Ok(Some(node)),
            status => {
                let text = format!("the node is {status}; it may send again when it is healthy");
                Err(Refusal::new(StatusCode::CONFLICT, text))
            }
        }
    }

    pub(super) async fn request(
        &self,
        id: Option<&str>,
        request: Request<Body>,
    ) -> Result<Answer, Refusal> {
        let node = self.asking(id, request.headers())?;
        let wants_progress = wants_progress(request.headers());
        let bytes = self.read(request).await?;
        let body = Asked::read(&bytes)?;
        let timeout = body.timeout(self.gateway.config.timeout.get())?;
        match (body.topic.as_deref(), body.composition()) {
            (Some(text), None) => {
                let topic = topic(Some(text), Kind::Request)?;
                let reply = self.gateway.engine.request(&topic, &body.input(), timeout).await;
                let message = reply.unwrap_or_else(RequestError::into_message);
                Ok(documented(&Response::single(message)))
            }
            (None, Some(json)) => {
                let evaluation = self.evaluation(node, json, body.input(), timeout)?;
                if wants_progress {
                    return Ok(progress::answer(Progress::of(evaluation)));
                }
                Ok(documented(&evaluation.run().await))
            }
            (Some(_), Some(_)) => {
                Err(Refusal::bad("only one of `topic` and `composition` can be asked for"))
            }
            (None, None) => Err(Refusal::bad("one of `topic` and `composition` is needed")),
        }
    }

    pub(super) async fn composition(
        &self,
        id: Option<&str>,
        request: Request<Body>,
    ) -> Result<Answer, Refusal> {
        let node = self.asking(id, request.headers())?;
        let wants_progress = wants_progress(request.headers());
        let format = match request.uri().query() {
            Some(query) if query.contains("format=data") => CompositionAnswer::Data,
            Some(query) if query.contains("format=documented") => CompositionAnswer::Documented,
            _ => self.gateway.config.composition_answer,
        };
        let bytes = self.read(request).await?;
        let body = Asked::read(&bytes)?;
        let timeout = body.timeout(self.gateway.config.timeout.get())?;
        let json = body.composition().ok_or_else(|| Refusal::bad("`composition` is missing"))?;
        let input = body.data.clone().or_else(|| body.message.clone()).unwrap_or_else(Data::null);
        let evaluation = self.evaluation(node, json, input, timeout)?;
        if wants_progress {
            return Ok(progress::answer(Progress::of(evaluation)));
        }
        let response = evaluation.run().await;
        Ok(match format {
            CompositionAnswer::Documented => documented(&response),
            CompositionAnswer::Data => json_answer(status_of(response.code()), &response.data()),
        })
    }

    fn evaluation(
        &self,
        node: Option<Arc<Node>>,
        json: &str,
        input: Data,
        timeout: Duration,
    ) -> Result<Evaluation, Refusal> {
        let limits = &self.gateway.config.nodes;
        let bounds = Bounds::default().size(limits.composition_depth, limits.composition_steps);
        let composition = Composition::parse_within(json, bounds)
            .map_err(|why| Refusal::bad(&why.under("/composition").to_string()))?;
        for asked in composition.topics() {
            topic(Some(asked.as_str()), Kind::Request)?;
        }
        let asker = Asker { engine: self.gateway.engine.clone(), node };
        Ok(Evaluation { composition, asker, input, timeout })
    }

    pub(super) async fn signal(
        &self,
        id: Option<&str>,
        request: Request<Body>,
    ) -> Result<Answer, Refusal> {
        let node = self.asking(id, request.headers())?;
        let bytes = self.read(request).await?;
        let body = Asked::read(&bytes)?;
        let topic = topic(body.topic.as_deref(), Kind::Slot)?;
        let data = body.input();
        let gateway = &self.gateway;
        let groups = gateway.bus.groups(&topic);
        let taken = gateway.bus.take(&gateway.cx, &groups, &topic, &data, node.as_deref()).await;
        if let Err(error) = taken {
            return match error.is_for_now() {
                true => Ok(not_sent(&error.to_string())),
                false => Err(Refusal::bad(&error.to_string())),
            };
        }
        match gateway.engine.signal(Signal::new(&topic, &data).taken_by(&groups)).await {
            Ok(sent) => {
                let mut answer = json!({"status": 0, "sender": *sent.sender});
                if let Some(receivers) = sent.receivers {
                    answer["receivers"] = json!(receivers + groups.len() as u64);
                }
                Ok(json_answer(StatusCode::OK, &answer))
            }
            // What the bus has, it has: sent again, it would be there twice.
            Err(error) if !groups.is_empty() => {
                tracing::warn!(
                    topic = topic.as_str(),
                    "a signal reached the bus, but no other slot: {error}"
                );
                Ok(json_answer(StatusCode::OK, &json!({"status": 0, "error": error.to_string()})))
            }
            Err(SignalError::Unreachable(error)) => Ok(not_sent(&error.to_string())),
            Err(error @ SignalError::TooLarge(_)) => {
                Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))
            }
            Err(error) => Err(Refusal::bad(&error.to_string())),
        }
    }
}

fn not_sent(error: &str) -> Answer {
    let mut answer =
        json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": 1, "error": error}));
    answer.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    answer
}

fn documented(response: &Response) -> Answer {
    json_answer(status_of(response.code()), response)
}

/// The status that carries a code. The body has the code itself.
fn status_of(code: i64) -> StatusCode {
    let code = match code {
        // Their answers have no body.
        0 | 204 | 205 | 304 => 200,
        ..=199 => 502,
        600.. => 500,
        code => code,
    };
    u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::BAD_GATEWAY)
}

/// Whether the answer is to tell of each step.
fn wants_progress(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains(progress::LINES))
}

/// A composition that was checked, and what it is evaluated with.
pub(super) struct Evaluation {
    pub(super) composition: Composition,
    asker: Asker,
    input: Data,
    timeout: Duration,
}

impl Evaluation {
    async fn run(self) -> Response {
        self.composition.evaluate(&self.asker, self.input, self.timeout).await
    }

    pub(super) async fn run_watched(self, watcher: &dyn Watcher) -> Response {
        let Self { composition, asker, input, timeout } = self;
        composition.evaluate_watched(&asker, watcher, input, timeout).await
    }
}

/// Evaluates a composition. Lambdas are those of the node that asks.
struct Asker {
    engine: Arc<dyn Engine>,
    node: Option<Arc<Node>>,
}

#[async_trait]
impl Caller for Asker {
    async fn request(&self, topic: &Topic, data: &Data, timeout: Duration) -> Message {
        let reply = self.engine.request(topic, data, timeout).await;
        reply.unwrap_or_else(RequestError::into_message)
    }

    async fn lambda(&self, path: &str, data: &Data, timeout: Duration) -> Message {
        let bad = |text: &str| Message::failure(poa_gilmour::BAD_REQUEST, text);
        let Some(node) = &self.node else {
            return bad("a lambda is a path of the node that asks, and no node asks");
        };
        match definition::canonical("lambda", path) {
            Ok(path) => node.caller.lambda(&path, data, timeout).await,
            Err(refusal) => bad(&refusal.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_statuses() {
        for (code, status) in [
            (200, 200),
            (0, 200),
            (204, 200),
            (205, 200),
            (304, 200),
            (201, 201),
            (404, 404),
            (499, 499),
            (599, 599),
            (600, 500),
            (i64::MAX, 500),
            (199, 502),
            (-1, 502),
            (100, 502),
        ] {
            assert_eq!(status_of(code).as_u16(), status, "{code}");
        }
    }

    #[test]
    fn the_time_stands_in_one_of_two_places() {
        let timeout = |json: &str| {
            let default = Duration::from_secs(600);
            Asked::read(json.as_bytes())
                .and_then(|body| body.timeout(default))
                .map(|time| time.as_secs())
                .ok()
        };
        assert_eq!(timeout(r#"{"timeout": 3}"#), Some(3));
        assert_eq!(timeout(r#"{"opts": {"timeout": 4}}"#), Some(4));
        assert_eq!(timeout(r#"{"timeout": 0}"#), Some(600));
        assert_eq!(timeout("{}"), Some(600));
        for wrong in ["-1", "86401", "1.5", "\"3\""] {
            assert_eq!(timeout(&format!(r#"{{"timeout": {wrong}}}"#)), None, "{wrong}");
        }
        assert!(Asked::read(b"[]").is_err() && Asked::read(b"x").is_err());
    }
}
