//! HTTP calls of one node.
//!
//! A connection is driven by the call that uses it, and by nothing else: there is no task behind it. So a call that is dropped closes its
//! connection before `drop` returns, and a node that writes late writes into a closed socket.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use poa_core::MemoryBudget;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::definition::Target;

/// How long a connection is kept for the next call. Node.js closes its own after 5 s, and a call must not meet that.
const IDLE: Duration = Duration::from_secs(3);
/// How many connections of a node are kept.
const MAX_IDLE: usize = 64;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The connections to one node.
#[derive(Debug)]
pub(crate) struct Exchange {
    target: Target,
    authority: HeaderValue,
    idle: Mutex<Vec<Connection>>,
}

/// The answer of a node.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// How large an answer may be, and what memory it is taken from.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) most: usize,
    pub(crate) memory: Option<MemoryBudget>,
}

/// Why a node gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the node refused the connection: {0}")]
    Refused(#[source] io::Error),
    #[error("the node cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    #[error("the node did not answer: {0}")]
    Broken(#[source] hyper::Error),
    #[error("the node closed the connection without an answer")]
    Closed,
    #[error("the answer of the node is larger than the limit of {0} bytes")]
    TooLarge(usize),
    #[error("too many answers are being received at once; try again later")]
    Busy,
}

impl ExchangeError {
    /// Whether nothing listens there.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Wire = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    wire: Pin<Box<Wire>>,
    over: bool,
    idle_since: Instant,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection(over: {})", self.over)
    }
}

impl Exchange {
    pub(crate) fn new(target: Target) -> Arc<Self> {
        // A name or an address, and a number.
        let authority = HeaderValue::try_from(target.authority());
        let authority = authority.unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Arc::new(Self { target, authority, idle: Mutex::default() })
    }

    /// Sends JSON, and waits for the answer. Dropped, it closes the connection.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: String,
        room: &Room,
    ) -> Result<Answer, ExchangeError> {
        let mut request = self.request(Method::POST, path, body.into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        self.run(connection, request, room).await
    }

    /// Whether the answer at this path is 2xx, over a connection of its own: that shows that something listens. The body is not read.
    pub(crate) async fn is_healthy(&self, path: &str) -> Result<StatusCode, ExchangeError> {
        let request = self.request(Method::GET, path, Bytes::new());
        let mut connection = self.connect().await?;
        Ok(connection.send(request).await?.status())
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // Paths are checked when they are registered.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(HOST, self.authority.clone());
        request
    }

    async fn run(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
        room: &Room,
    ) -> Result<Answer, ExchangeError> {
        let response = connection.send(request).await?;
        let (head, body) = response.into_parts();
        let body = connection.read(body, room).await?;
        self.keep(connection).await;
        Ok(Answer { status: head.status, body })
    }

    async fn connect(&self) -> Result<Connection, ExchangeError> {
        let connecting = tokio::time::timeout(CONNECT, self.stream()).await;
        let stream = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                ExchangeError::Refused(error)
            }
            _ => ExchangeError::Unreachable(error),
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, wire) = handshake.map_err(ExchangeError::Broken)?;
        Ok(Connection { sender, wire: Box::pin(wire), over: false, idle_since: Instant::now() })
    }

    async fn stream(&self) -> io::Result<Box<dyn Stream>> {
        match &self.target {
            Target::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Target::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Target::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A connection that is still good.
    fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().pop()?;
            if connection.idle_since.elapsed() < IDLE && connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call, unless the node closes it.
    async fn keep(&self, mut connection: Connection) {
        if !connection.becomes_ready().await {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.idle.lock();
        if idle.len() >= MAX_IDLE {
            // The oldest: it is the first to be of no use.
            idle.remove(0);
        }
        idle.push(connection);
    }
}

impl Connection {
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ExchangeError> {
        let answer = self.sender.send_request(request);
        drive(&mut self.wire, &mut self.over, answer).await?.map_err(ExchangeError::Broken)
    }

    async fn read(&mut self, mut body: Incoming, room: &Room) -> Result<Vec<u8>, ExchangeError> {
        let mut reserved = room.memory.as_ref().map(MemoryBudget::reservation);
        let mut bytes = Vec::new();
        loop {
            let frame = drive(&mut self.wire, &mut self.over, body.frame()).await?;
            let Some(frame) = frame else { return Ok(bytes) };
            let Ok(data) = frame.map_err(ExchangeError::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > room.most {
                return Err(ExchangeError::TooLarge(room.most));
            }
            if reserved.as_mut().is_some_and(|reserved| !reserved.grow(data.len() as u64)) {
                return Err(ExchangeError::Busy);
            }
            bytes.extend_from_slice(&data);
        }
    }

    /// Whether the node has neither closed the connection nor said anything meanwhile.
    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.over && self.wire.as_mut().poll(&mut cx).is_pending() && self.sender.is_ready()
    }

    /// Whether another request can be sent: it is known once the last answer was read.
    async fn becomes_ready(&mut self) -> bool {
        let ready = drive(&mut self.wire, &mut self.over, self.sender.ready()).await;
        matches!(ready, Ok(Ok(()))) && !self.over
    }
}

/// Waits for what comes over a connection, and moves the connection on meanwhile.
async fn drive<F: Future>(
    wire: &mut Pin<Box<Wire>>,
    over: &mut bool,
    awaited: F,
) -> Result<F::Output, ExchangeError> {
    let mut awaited = pin!(awaited);
    poll_fn(|cx| {
        if let Poll::Ready(output) = awaited.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if !*over && wire.as_mut().poll(cx).is_ready() {
            *over = true;
        }
        // The wire may have brought it.
        match awaited.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if *over => Poll::Ready(Err(ExchangeError::Closed)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const ROOM: Room = Room { most: 1000, memory: None };

    /// A node that answers each request on a connection with the next of these; then it closes.
    async fn node(answers: &'static [&'static str]) -> (Arc<Exchange>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    for answer in answers {
                        let mut request = [0; 4096];
                        if stream.read(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        (Exchange::new(Target::Tcp { host: "127.0.0.1".into(), port }), connections)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let (exchange, connections) = node(&[OK, OK, OK]).await;
        for _ in 0..3 {
            let answer = exchange.post("/", "{}".to_owned(), &ROOM).await.unwrap();
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]));
        }
        assert_eq!(connections.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn a_connection_that_the_node_closes_is_not_used_again() {
        let closing = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        let node = Box::leak(Box::new([closing]));
        let (exchange, connections) = self::node(node).await;
        for _ in 0..2 {
            exchange.post("/", "{}".to_owned(), &ROOM).await.unwrap();
        }
        assert_eq!(connections.load(SeqCst), 2);
        assert!(exchange.idle.lock().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_use_is_told() {
        let failed = async |answers| {
            let (exchange, _) = node(answers).await;
            exchange.post("/", "{}".to_owned(), &ROOM).await.unwrap_err()
        };
        assert!(matches!(failed(&[""]).await, ExchangeError::Broken(_) | ExchangeError::Closed));
        assert!(matches!(failed(&["nonsense\r\n\r\n"]).await, ExchangeError::Broken(_)));
        let large = "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
        let large = format!("{large}{}", "x".repeat(1001));
        let large: &'static str = Box::leak(large.into_boxed_str());
        assert!(matches!(
            failed(Box::leak(Box::new([large]))).await,
            ExchangeError::TooLarge(1000)
        ));
        let none = Exchange::new(Target::Tcp { host: "127.0.0.1".into(), port: 1 });
        assert!(none.is_healthy("/").await.unwrap_err().is_refusal());
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_has_closed_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let exchange = Exchange::new(Target::Tcp { host: "127.0.0.1".into(), port });
        let mut call = Box::pin(exchange.post("/", "{}".to_owned(), &ROOM));
        let mut stream = tokio::select! {
            _ = &mut call => panic!("there is no answer"),
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let mut request = [0; 4096];
        tokio::select! {
            _ = &mut call => panic!("there is no answer"),
            read = stream.read(&mut request) => assert!(read.unwrap() > 0),
        }
        drop(call);
        assert_eq!(stream.read(&mut request).await.unwrap_or(0), 0);
    }
}
