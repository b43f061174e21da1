//! By a gateway: requests and signals with its token, and this program as a node for as long as it listens.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use poa_gilmour::{Data, Handler, Kind, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cli::{Listening, Way};
use crate::failure::Failure;

/// The largest body that is read.
const LARGEST: usize = 64 << 20;

/// The gateway, and the token that lets this program in.
pub(crate) struct Client {
    authority: String,
    token: Option<String>,
}

type Answer = (StatusCode, Bytes);

impl Client {
    fn new(way: &Way) -> Result<Self, Failure> {
        let token = way.token_file.as_deref().map(read_token).transpose()?;
        Ok(Self { token, ..Self::at(&way.gateway)? })
    }

    /// A gateway that needs no token.
    pub(crate) fn at(gateway: &str) -> Result<Self, Failure> {
        let url: Uri = gateway.parse().map_err(|error| Failure::new("--gateway", error))?;
        let authority = url.authority().filter(|_| url.scheme_str() == Some("http"));
        let authority = authority.ok_or_else(|| {
            Failure::because(format_args!("--gateway: `{gateway}` is not an http:// URL"))
        })?;
        Ok(Self { authority: authority.to_string(), token: None })
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Answer, Failure> {
        let failed = |error: &dyn Error| {
            Failure::because(format_args!(
                "the gateway at {} did not answer: {error}",
                self.authority
            ))
        };
        let mut request =
            Request::builder().method(method).uri(path).header("host", &self.authority);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::<Bytes>::from(body)).map_err(|error| failed(&error))?;
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| failed(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
        let asking = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok::<_, Box<dyn Error + Send + Sync>>((status, body?.to_bytes()))
        };
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            _ = connection => asking.await,
        }
        .map_err(|error| failed(&*error))
    }

    async fn send(&self, path: &str, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let body = serde_json::to_string(asked);
        let body = body.map_err(|error| Failure::new("the request has no JSON form", error))?;
        self.ask(Method::POST, path, body).await
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value), Failure> {
        let (status, bytes) = self.ask(method, path, body.to_string()).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// A request or a signal. Its data stays as it was written, with all digits of its numbers.
#[derive(Serialize)]
struct Asked<'a> {
    topic: &'a str,
    message: &'a Data,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
}

/// The documented answer to a request.
#[derive(Deserialize)]
struct Answered {
    messages: Vec<Reply>,
}

#[derive(Deserialize)]
struct Reply {
    data: Data,
    code: i64,
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Failure::new(format_args!("cannot read {}", file.display()), error))?;
    Ok(text.trim().to_owned())
}

/// The failure of a refusal.
fn refused(status: StatusCode, answer: &Value) -> Failure {
    let why = answer["error"].as_str().unwrap_or("without a reason");
    Failure::because(format_args!("the gateway refuses with {}: {why}", status.as_u16()))
}

/// This program as a node: healthy, and served by the task that runs it.
pub(crate) struct Node {
    listener: TcpListener,
    handler: Arc<dyn Handler>,
    kind: Kind,
}

/// How long to wait when no connection can be accepted, such as for want of file descriptors.
const AGAIN: Duration = Duration::from_millis(100);

impl Node {
    pub(crate) async fn bind(
        handler: Arc<dyn Handler>,
        kind: Kind,
    ) -> Result<(Self, u16), Failure> {
        let failed = |error| Failure::new("cannot listen on a port of the loopback", error);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok((Self { listener, handler, kind }, port))
    }

    /// Serves for as long as it is polled.
    async fn serve(self) {
        let node = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = node.listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    };
                    let node = node.clone();
                    let answer = service_fn(move |request| {
                        let node = node.clone();
                        async move { Ok::<_, Infallible>(node.answer(request).await) }
                    });
                    connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let message = match *request.method() {
            Method::POST => match self.call(request).await {
                Ok(call) => self.handler.handle(call).await,
                Err(error) => Message::failure(400, &error),
            },
            // Whether it is healthy.
            _ => Message::ok(Data::null()),
        };
        let mut response = Response::new(Full::from(message.data.json().to_owned()));
        let status =
            u16::try_from(message.code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response
    }

    async fn call(&self, request: Request<Incoming>) -> Result<poa_gilmour::Call, String> {
        let body = Limited::new(request.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| error.to_string())?;
        poa_gilmour::Call::read(self.kind, &body.to_bytes()).map_err(|error| error.to_string())
    }
}

/// Registers a node with this in its body, does something with its id, and deletes it.
pub(crate) async fn as_node<T>(
    client: &Client,
    (node, port): (Node, u16),
    mut body: Value,
    work: impl AsyncFnOnce(&str) -> Result<T, Failure>,
) -> Result<T, Failure> {
    body["port"] = json!(port);
    if body["name"].is_null() {
        body["name"] = json!(format!("poa-server-{}", std::process::id()));
    }
    let working = async {
        let (status, answer) = client.json(Method::POST, "/nodes", &body).await?;
        let id = answer["id"].as_str().ok_or_else(|| refused(status, &answer))?;
        let done = work(id).await;
        client.ask(Method::DELETE, &format!("/nodes/{id}"), String::new()).await?;
        done
    };
    tokio::select! {
        done = working => done,
        () = node.serve() => Err(Failure::because("the listener has ended")),
    }
}

pub(super) async fn request(
    way: &Way,
    topic: &str,
    data: &Data,
    timeout: Duration,
) -> Result<Message, Failure> {
    let asked = Asked { topic, message: data, timeout: Some(timeout.as_secs()) };
    let (status, bytes) = Client::new(way)?.send("/request", &asked).await?;
    let answered = serde_json::from_slice(&bytes).ok();
    let first = answered.and_then(|Answered { messages }| messages.into_iter().next());
    let refused = || refused(status, &serde_json::from_slice(&bytes).unwrap_or_default());
    first.map(|Reply { data, code }| Message::new(data, code)).ok_or_else(refused)
}

pub(super) async fn signal(way: &Way, topic: &str, data: &Data) -> Result<Option<u64>, Failure> {
    let sent = Asked { topic, message: data, timeout: None };
    let (status, bytes) = Client::new(way)?.send("/signal", &sent).await?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if answer["status"] == 0 {
        Ok(answer["receivers"].as_u64())
    } else {
        Err(refused(status, &answer))
    }
}

pub(super) async fn listen(options: &Listening, handler: Arc<dyn Handler>) -> Result<(), Failure> {
    let client = Client::new(&options.way)?;
    let (key, kind) =
        if options.service { ("services", Kind::Request) } else { ("slots", Kind::Slot) };
    let entry = json!({"topic": options.topic, "group": options.group, "path": "/call"});
    let node = Node::bind(handler, kind).await?;
    as_node(&client, node, json!({key: [entry]}), async |_| {
        super::announce(options);
        super::interrupted().await
    })
    .await
}
