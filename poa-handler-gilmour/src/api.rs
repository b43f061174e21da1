//! The HTTP interface.

mod access;
mod calls;
mod nodes;
mod overview;
mod progress;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use poa_gilmour::Kind;
use poa_http::Body;
use poa_page::Files;
use serde::Serialize;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::page;
pub(crate) use access::Access;
use progress::Progress;

/// Everything at once, or a composition while it is evaluated.
pub(crate) type Answer = Response<Either<Full<Bytes>, Progress>>;

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allow: None }
    }

    pub(crate) fn bad(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) fn unauthorized(text: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, text)
    }

    pub(crate) fn unavailable(text: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    pub(crate) fn internal(text: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    fn method(allow: &'static str) -> Self {
        let text = format!("this path takes {allow}");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, text, allow: Some(allow) }
    }

    pub(crate) fn answer(&self) -> Answer {
        let mut answer =
            json_answer(self.status, &json!({"error": self.text, "status": self.text}));
        let headers = answer.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

pub(crate) fn json_answer<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Answer {
    // All of it is text, numbers and JSON.
    let body = Full::from(serde_json::to_vec(body).unwrap_or_default());
    let mut answer = Response::new(Either::Left(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn ok(body: &Value) -> Answer {
    json_answer(StatusCode::OK, body)
}

fn done() -> Answer {
    ok(&json!({"status": "ok"}))
}

/// The meaning of a path.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Alive(&'a str),
    Nodes,
    Node(&'a str),
    Activate(&'a str),
    /// Of a node, or of the one that the `Authorization` header names.
    Entries(Option<&'a str>, Kind),
    /// By a node, or by who has the token.
    Request(Option<&'a str>),
    Signal(Option<&'a str>),
    Composition(Option<&'a str>),
    /// The state of everything, for the page.
    Overview,
}

fn route(path: &str) -> Option<Route<'_>> {
    let path = path.strip_prefix('/')?;
    let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    Some(match parts[..] {
        ["healthz"] => Route::Health,
        ["health_check", id] => Route::Alive(id),
        ["nodes"] => Route::Nodes,
        ["nodes", "services"] => Route::Entries(None, Kind::Request),
        ["nodes", "slots"] => Route::Entries(None, Kind::Slot),
        ["nodes", id] => Route::Node(id),
        ["nodes", id, "activate"] => Route::Activate(id),
        ["nodes", id, "services"] => Route::Entries(Some(id), Kind::Request),
        ["nodes", id, "slots"] => Route::Entries(Some(id), Kind::Slot),
        ["request"] => Route::Request(None),
        ["request", id] => Route::Request(Some(id)),
        ["signal"] => Route::Signal(None),
        ["signal", id] => Route::Signal(Some(id)),
        ["composition"] => Route::Composition(None),
        ["composition", id] => Route::Composition(Some(id)),
        ["overview"] => Route::Overview,
        _ => return None,
    })
}

/// The service of a gateway.
#[derive(Debug)]
pub(crate) struct Api {
    gateway: Arc<Gateway>,
    access: Access,
    page: Files,
}

impl Api {
    pub(crate) fn new(gateway: Arc<Gateway>, access: Access) -> Self {
        Self { gateway, access, page: page::files() }
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        self.serve(request).await.unwrap_or_else(|refusal| refusal.answer())
    }

    async fn serve(&self, request: Request<Body>) -> Result<Answer, Refusal> {
        let path = request.uri().path().to_owned();
        if matches!(*request.method(), Method::GET | Method::HEAD)
            && let Some(file) = self.page.get(&path, request.headers())
        {
            return Ok(file.map(Either::Left));
        }
        let route = route(&path).ok_or_else(|| Refusal::not_found("there is no such path"))?;
        let method = request.method().clone();
        match (route, &method) {
            (Route::Health, &Method::GET | &Method::HEAD) => Ok(self.health()),
            (Route::Alive(id), &Method::GET) => self.alive(id),
            (Route::Overview, &Method::GET) => self.overview(&request),
            (Route::Nodes, &Method::POST | &Method::PUT) => self.register(request).await,
            (Route::Nodes, &Method::GET) => self.list(&request),
            (Route::Nodes, &Method::DELETE) => self.delete(self.named_by_header(&request)?).await,
            (Route::Node(id), &Method::GET) => self.details(id),
            (Route::Node(id), &Method::DELETE) => self.delete(self.gateway.find(id)?).await,
            (Route::Activate(id), &Method::POST) => self.activate(id).await,
            (Route::Entries(id, kind), method) => {
                let node = match id {
                    Some(id) => self.gateway.find(id)?,
                    None => self.named_by_header(&request)?,
                };
                match *method {
                    Method::GET => Ok(self.entries(&node, kind)),
                    Method::POST => self.add(&node, kind, request).await,
                    Method::DELETE => self.remove(&node, kind, &request).await,
                    _ => Err(Refusal::method("GET, POST, DELETE")),
                }
            }
            (Route::Request(id), &Method::POST) => self.request(id, request).await,
            (Route::Signal(id), &Method::POST) => self.signal(id, request).await,
            (Route::Composition(id), &Method::POST) => self.composition(id, request).await,
            (route, _) => Err(Refusal::method(route.methods())),
        }
    }

    fn health(&self) -> Answer {
        let up = self.gateway.engine_is_up();
        let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let state = if up { "up" } else { "down" };
        let engine = self.gateway.engine.name();
        json_answer(
            status,
            &json!({"status": if up { "ok" } else { "unavailable" }, engine: state}),
        )
    }

    /// The first proxy's answer to a node that asked whether the proxy lives.
    fn alive(&self, id: &str) -> Result<Answer, Refusal> {
        self.gateway.find(id)?;
        let mut answer = Response::new(Either::Left(Full::from("I am alive!")));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(answer)
    }

    /// The whole body of a request.
    async fn read(&self, request: Request<Body>) -> Result<poa_http::Received, Refusal> {
        let body = request.into_body().read(self.gateway.cx.memory()).await;
        body.map_err(|error| Refusal::new(error.status(), error.to_string()))
    }
}

impl Route<'_> {
    fn methods(&self) -> &'static str {
        match self {
            Self::Health => "GET, HEAD",
            Self::Alive(_) | Self::Overview => "GET",
            Self::Nodes => "GET, POST, PUT, DELETE",
            Self::Node(_) => "GET, DELETE",
            Self::Entries(..) => "GET, POST, DELETE",
            Self::Activate(_) | Self::Request(_) | Self::Signal(_) | Self::Composition(_) => "POST",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_with_and_without_a_slash() {
        for slash in ["", "/"] {
            let is = |path: &str, expected| assert_eq!(route(&format!("{path}{slash}")), expected);
            is("/nodes", Some(Route::Nodes));
            is("/nodes/x", Some(Route::Node("x")));
            is("/nodes/x/slots", Some(Route::Entries(Some("x"), Kind::Slot)));
            is("/nodes/services", Some(Route::Entries(None, Kind::Request)));
            is("/nodes/x/activate", Some(Route::Activate("x")));
            is("/request/x", Some(Route::Request(Some("x"))));
            is("/request", Some(Route::Request(None)));
            is("/composition/x", Some(Route::Composition(Some("x"))));
            is("/signal/x", Some(Route::Signal(Some("x"))));
            is("/signal", Some(Route::Signal(None)));
            is("/nowhere", None);
            is("/nodes/x/y/z", None);
        }
        assert_eq!(route("*"), None);
    }
}
