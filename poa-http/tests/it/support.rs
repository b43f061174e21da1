//! A server with a few paths, and a client that is controlled byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::websocket;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use poa_core::telemetry::Telemetry;
use poa_core::{BuildContext, MemoryBudget};
use poa_http::{Body, BodyError, Encoding, Limits, Server, Shares, Tls};
use tokio::io::BufReader;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any operation here should ever take.
const PATIENCE: Duration = Duration::from_secs(30);

/// State that the service and the test share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) memory: MemoryBudget,
    /// Notified when a request to `/gate` has arrived.
    pub(crate) arrived: Arc<Notify>,
    /// Lets one such request continue.
    pub(crate) gate: Arc<Notify>,
}

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) shared: Shared,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) telemetry: Telemetry,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

pub(crate) fn start(limits: Limits) -> Running {
    start_with(limits, None, MemoryBudget::new(1 << 30))
}

pub(crate) fn start_with(limits: Limits, tls: Option<&Tls>, memory: MemoryBudget) -> Running {
    start_sharing(limits, tls, memory, Shares::default())
}

pub(crate) fn start_sharing(
    limits: Limits,
    tls: Option<&Tls>,
    memory: MemoryBudget,
    shares: Shares,
) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let cx = BuildContext::detached("test", dir.path()).with_resource(shares);
    let server = Server::bind(any_port(), tls, limits, &cx).unwrap();
    let addr = server.local_addr();
    let shared = Shared { memory, arrived: Arc::default(), gate: Arc::default() };
    let shutdown = CancellationToken::new();
    let service = {
        let (shared, shutdown) = (shared.clone(), shutdown.clone());
        service_fn(move |request| answer(request, shared.clone(), shutdown.clone()))
    };
    let task = tokio::spawn(server.serve(service, shutdown.clone()));
    Running { addr, shared, shutdown, task, telemetry: cx.telemetry().clone(), dir }
}

pub(crate) fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

impl Running {
    pub(crate) async fn client(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.addr).await.unwrap())
    }

    /// Whether the metrics of the server contain this line.
    pub(crate) fn counts(&self, line: &str) -> bool {
        self.telemetry.encode().lines().any(|found| found == line)
    }
}

async fn answer(
    request: Request<Body>,
    shared: Shared,
    shutdown: CancellationToken,
) -> Result<Response<Full<Bytes>>, BodyError> {
    Ok(match request.uri().path() {
        "/echo" => match request.into_body().read(&shared.memory).await {
            Ok(body) => text(StatusCode::OK, body.keep(0..body.len())),
            Err(error) => text(error.status(), error.to_string().into()),
        },
        "/gate" => {
            shared.arrived.notify_one();
            shared.gate.notified().await;
            text(StatusCode::OK, "passed".into())
        }
        "/gzip" => match request.into_body().read_as(Encoding::Gzip, &shared.memory).await {
            Ok(body) => text(StatusCode::OK, body.keep(0..body.len())),
            Err(error) => text(error.status(), error.to_string().into()),
        },
        "/as-mallory" => {
            request.body().charge_to(&"mallory".into());
            match request.into_body().read(&shared.memory).await {
                Ok(_) => text(StatusCode::OK, Bytes::new()),
                Err(error) => text(error.status(), error.to_string().into()),
            }
        }
        "/refuse" => text(StatusCode::UNAUTHORIZED, "no".into()),
        "/peer" => text(StatusCode::OK, request.body().peer().to_string().into()),
        "/ws" => websocket::answer(request, &shared.memory, shutdown),
        "/panic" => panic!("as told"),
        _ => text(StatusCode::NOT_FOUND, Bytes::new()),
    })
}

fn text(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

/// Fails the test instead of waiting without limit.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

pub(crate) struct Client<S>(BufReader<S>);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(header))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut BufReader<S> {
        &mut self.0
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// An error when the server has closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        soon(self.0.write_all(bytes.as_ref())).await?;
        self.0.flush().await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        self.send(post(path, body)).await;
        self.answer().await
    }

    /// Reads a head, and a body if its length is known.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = soon(self.0.read_line(&mut head)).await.unwrap();
            assert_ne!(read, 0, "the connection ended in a head: {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Waits until the server closes the connection; returns what it sent before.
    pub(crate) async fn end(&mut self) -> String {
        let mut rest = Vec::new();
        soon(self.0.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8(rest).unwrap()
    }

    pub(crate) async fn stop_sending(&mut self) {
        self.0.shutdown().await.unwrap();
    }
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
