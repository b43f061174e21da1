//! A collector that keeps what it gets, and answers as it is told to.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Everything that came, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Came {
    /// The headers of each request.
    pub(crate) headers: Vec<HeaderMap>,
    /// The attributes of the service, of the last request.
    pub(crate) service: Vec<KeyValue>,
    /// The spans of the requests that were answered with 200.
    pub(crate) spans: Vec<Span>,
}

/// A collector on a port of its own.
pub(crate) struct Collector {
    address: SocketAddr,
    /// The socket, until it listens.
    socket: Option<TcpSocket>,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
}

struct State {
    came: watch::Sender<Came>,
    answers: Mutex<VecDeque<Response<Bytes>>>,
    /// One permit for each answer.
    gate: Semaphore,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

impl Collector {
    /// A port at which connections are refused until [`open`](Self::open).
    pub(crate) fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let state = State {
            came: watch::Sender::default(),
            answers: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        };
        let address = socket.local_addr().unwrap();
        Self { address, socket: Some(socket), state: state.into(), task: None }
    }

    pub(crate) fn start() -> Self {
        let mut collector = Self::closed();
        collector.open();
        collector
    }

    pub(crate) fn open(&mut self) {
        let listener = self.socket.take().unwrap().listen(64).unwrap();
        self.task = Some(tokio::spawn(serve(listener, self.state.clone())));
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// The next request gets this answer. Later ones get 200.
    pub(crate) fn answer(&self, status: u16, headers: &[(&'static str, &str)], body: Vec<u8>) {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        self.state.answers.lock().unwrap().push_back(answer.body(body.into()).unwrap());
    }

    /// Requests get no answer until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.state.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn release(&self) {
        self.state.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// Everything that came so far.
    pub(crate) fn came(&self) -> Came {
        self.state.came.borrow().clone()
    }

    /// Everything that came, once this holds.
    pub(crate) async fn until(&self, holds: impl Fn(&Came) -> bool) -> Came {
        self.state.came.subscribe().wait_for(holds).await.unwrap().clone()
    }

    /// The spans, once there are so many.
    pub(crate) async fn spans(&self, count: usize) -> Vec<Span> {
        self.until(|came| came.spans.len() >= count).await.spans
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        let take = move |request| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(state.take(request).await) }
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(take));
        // A client may leave at any time.
        tokio::spawn(async move { drop(connection.await) });
    }
}

impl State {
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/v1/traces"));
        let body = body.collect().await.unwrap().to_bytes();
        let answer = self.answers.lock().unwrap().pop_front();
        let accepts = answer.as_ref().is_none_or(|answer| answer.status().is_success());
        let request = decode(&parts.headers, &body);
        self.came.send_modify(|came| came.add(parts.headers, request, accepts));
        self.gate.acquire().await.unwrap().forget();
        answer.unwrap_or_default().map(Full::from)
    }
}

impl Came {
    fn add(&mut self, headers: HeaderMap, request: ExportTraceServiceRequest, accepts: bool) {
        self.headers.push(headers);
        for service in request.resource_spans {
            self.service = service.resource.unwrap().attributes;
            if accepts {
                self.spans.extend(service.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
    }
}

fn decode(headers: &HeaderMap, body: &[u8]) -> ExportTraceServiceRequest {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut plain = Vec::new();
    match headers.get("content-encoding") {
        None => plain.extend(body),
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
        }
    }
    ExportTraceServiceRequest::decode(&*plain).unwrap()
}

/// The value of an attribute, as text; empty if it is missing.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.clone());
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        None => String::new(),
        other => panic!("{key}: {other:?}"),
    }
}
