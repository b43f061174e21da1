//! A proxy that answers some requests itself, as DynamoDB does when it is busy or refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::http::request::Parts;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Passed to DynamoDB, and the answer back.
    Forward,
    /// It is answered with this code and message, and goes nowhere.
    Refuse(&'static str, &'static str),
    /// Only this many items of it are passed on; the others are reported as unprocessed.
    Part(usize),
    /// Passed on after this time.
    Delay(Duration),
    /// Passed on, but the connection is closed instead of answered.
    LoseAnswer,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Call {
    /// How many came before, of any kind.
    pub(crate) count: u64,
    /// The operation, such as `BatchWriteItem`.
    pub(crate) operation: String,
    pub(crate) body: Value,
}

impl Call {
    /// True for a request that writes.
    pub(crate) fn writes(&self) -> bool {
        self.operation == "BatchWriteItem"
    }

    /// How many items it writes.
    pub(crate) fn items(&self) -> usize {
        let tables = self.body["RequestItems"].as_object();
        tables
            .map_or(0, |tables| tables.values().map(|items| items.as_array().unwrap().len()).sum())
    }
}

type Plan = dyn Fn(&Call) -> Action + Send + Sync;

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the DynamoDB that all tests share.
    pub(crate) async fn start(plan: impl Fn(&Call) -> Action + Send + Sync + 'static) -> Self {
        let upstream = crate::common::shared().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (plan, count): (Arc<Plan>, _) = (Arc::new(plan), Arc::new(AtomicU64::new(0)));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (plan, count, upstream) = (plan.clone(), count.clone(), upstream.clone());
                let service = service_fn(move |request| {
                    let (plan, count, upstream) = (plan.clone(), count.clone(), upstream.clone());
                    async move { answer(request, &*plan, &count, &upstream).await }
                });
                let serving =
                    server::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that closes the connection, or an answer lost on purpose, is expected.
                tokio::spawn(async move { serving.await.ok() });
            }
        });
        Self { url, accepting }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The answer is lost.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct Lost;

async fn answer(
    request: Request<Incoming>,
    plan: &Plan,
    count: &AtomicU64,
    upstream: &str,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let target = parts.headers["x-amz-target"].to_str().unwrap();
    let call = Call {
        count: count.fetch_add(1, Ordering::SeqCst),
        operation: target.split_once('.').unwrap().1.to_owned(),
        body: serde_json::from_slice(&body).unwrap(),
    };
    let forward = Forward { parts, upstream };
    match plan(&call) {
        Action::Forward => Ok(forward.send(body).await),
        Action::Delay(time) => {
            tokio::time::sleep(time).await;
            Ok(forward.send(body).await)
        }
        Action::Refuse(code, message) => Ok(refusal(code, message)),
        Action::Part(taken) => Ok(part(call.body, taken, forward).await),
        Action::LoseAnswer => {
            forward.send(body).await;
            Err(Lost)
        }
    }
}

/// Forwards the first items, and says that the others are unprocessed.
async fn part(mut body: Value, taken: usize, forward: Forward<'_>) -> Response<Full<Bytes>> {
    let tables = body["RequestItems"].as_object_mut().unwrap();
    let (table, items) = tables.iter_mut().next().unwrap();
    let items = items.as_array_mut().unwrap();
    let left = items.split_off(taken.min(items.len()));
    let (table, nothing) = (table.clone(), items.is_empty());
    if !nothing {
        let answer = forward.send(body.to_string().into()).await;
        assert!(answer.status().is_success(), "DynamoDB refused the first part: {answer:?}");
    }
    let left = if left.is_empty() { json!({}) } else { json!({table: left}) };
    Response::new(json!({"UnprocessedItems": left}).to_string().into())
}

/// The head of a request, and where it goes.
struct Forward<'a> {
    parts: Parts,
    upstream: &'a str,
}

impl Forward<'_> {
    async fn send(self, body: Bytes) -> Response<Full<Bytes>> {
        let mut request = Request::from_parts(self.parts, Full::new(body));
        request.headers_mut().remove("content-length");
        let stream = TcpStream::connect(self.upstream).await.unwrap();
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { connection.await.ok() });
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, body.into())
    }
}

fn refusal(code: &str, message: &str) -> Response<Full<Bytes>> {
    let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
    let body = json!({"__type": code, "message": message}).to_string();
    let response =
        Response::builder().status(400).header("content-type", "application/x-amz-json-1.0");
    response.body(body.into()).unwrap()
}
