//! The two ends of a hop: a node that answers at once, and the yardstick, a reverse proxy of hyper alone.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::Failure;

/// Names the address of the node to the proxy.
pub(crate) const NODE: &str = "POA_BENCH_NODE";

/// The same request for all: to a gateway by its path, and through the proxy.
pub(super) fn request(host: &str, path: &str) -> String {
    let body = r#"{"topic":"echo","message":{"first":1}}"#;
    format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Answers every request with a small object.
pub(crate) async fn serve_node() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{} -", listener.local_addr()?);
    until_parent_leaves(answer_all(listener)).await
}

async fn answer_all(listener: TcpListener) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = service_fn(async |request: Request<Incoming>| {
            // The body is read as a program would.
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(Full::from(r#"{"first":1}"#)))
        });
        tokio::spawn(serve(stream, answer));
    }
}

/// Passes every request on to the node: each connection over one of its own.
pub(crate) async fn serve_proxy() -> Result<(), Failure> {
    let node = std::env::var(NODE)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{} -", listener.local_addr()?);
    until_parent_leaves(pass_all_on(listener, node)).await
}

async fn pass_all_on(listener: TcpListener, node: String) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let node_stream = TcpStream::connect(&node).await?;
        node_stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(node_stream)).await?;
        tokio::spawn(connection);
        let sender = Arc::new(Mutex::new(sender));
        let host = node.clone();
        let answer = service_fn(move |request| pass_on(sender.clone(), host.clone(), request));
        tokio::spawn(serve(stream, answer));
    }
}

/// The parent closes stdin when it is done with this server.
async fn until_parent_leaves(
    serving: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let ended = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    tokio::select! {
        served = serving => served,
        ended = ended => Ok(ended?.map(drop)?),
    }
}

type Upstream = Arc<Mutex<SendRequest<Full<Bytes>>>>;

async fn pass_on(
    upstream: Upstream,
    host: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = hyper::Method::POST;
    if let Ok(host) = host.parse() {
        request.headers_mut().insert(HOST, host);
    }
    let mut sender = upstream.lock().await;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    Ok(Response::new(Full::new(answer.into_body().collect().await?.to_bytes())))
}

async fn serve<S>(stream: TcpStream, answer: S)
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<Full<Bytes>>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A client that goes away ends its connection.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}
