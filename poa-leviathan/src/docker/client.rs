//! Requests to the daemon.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use crate::{Code, Error};

/// The longest answer that is read. The list of some thousand containers is shorter.
const MAX_ANSWER: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    deadline: Duration,
}

/// An answer that was read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| unavailable(format!("its answer is not understood: {error}")))
    }

    /// The message of Docker in an answer that reports an error.
    pub(super) fn refusal(&self, what: &str) -> Error {
        let said = serde_json::from_slice::<Value>(&self.body).ok();
        let said = said.as_ref().and_then(|said| said.get("message")).and_then(Value::as_str);
        let said = said.unwrap_or_else(|| self.status.as_str()).trim();
        Error::new(Code::DockerUnavailable, format!("Docker cannot {what}: {said}"))
    }
}

/// An answer that continues, and the connection that it comes by.
pub(super) struct Stream {
    pub(super) body: Incoming,
    _connection: AbortOnDropHandle<()>,
}

type Sender = SendRequest<Full<Bytes>>;

impl Client {
    pub(super) fn new(socket: PathBuf, deadline: Duration) -> Self {
        Self { socket, deadline }
    }

    /// One request and its whole answer.
    ///
    /// # Errors
    /// `docker_unavailable` when no answer comes in time.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Error> {
        let exchange = async {
            let (mut sender, _connection) = self.connect().await?;
            let answer = self.send(&mut sender, method, path, body).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| self.broken(&*error))?.to_bytes();
            Ok(Reply { status, body })
        };
        self.in_time(exchange).await
    }

    /// A request whose answer continues for as long as both sides like.
    ///
    /// # Errors
    /// `docker_unavailable` when the answer does not begin in time.
    pub(super) async fn open(&self, path: &str) -> Result<Stream, Error> {
        let opening = async {
            let (mut sender, connection) = self.connect().await?;
            let answer = self.send(&mut sender, Method::GET, path, None).await?;
            if !answer.status().is_success() {
                return Err(unavailable(format!("GET {path}: {}", answer.status())));
            }
            Ok(Stream { body: answer.into_body(), _connection: connection })
        };
        self.in_time(opening).await
    }

    async fn connect(&self) -> Result<(Sender, AbortOnDropHandle<()>), Error> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| self.broken(&error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // How it ends shows in the answer.
        let driving = tokio::spawn(async move { drop(connection.await) });
        Ok((sender, AbortOnDropHandle::new(driving)))
    }

    async fn send(
        &self,
        sender: &mut Sender,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Error> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "docker")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))
            .map_err(|error| Error::internal(format!("{path} is not a path: {error}")))?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn in_time<R>(&self, call: impl Future<Output = Result<R, Error>>) -> Result<R, Error> {
        let late = || unavailable(format!("it does not answer within {:?}", self.deadline));
        tokio::time::timeout(self.deadline, call).await.unwrap_or_else(|_| Err(late()))
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let socket = self.socket.display();
        unavailable(format!("{socket}: {error}; start it, or set `docker_socket`"))
    }
}

pub(super) fn unavailable(why: impl std::fmt::Display) -> Error {
    Error::new(Code::DockerUnavailable, format!("Docker is not available: {why}"))
}
