//! A server that answers by a script and remembers what it was asked.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod socket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poa_agent::{AgentId, BoxError, Config, Credentials, Metric, Source};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub const USER: &str = "alice";
pub const PASSWORD: &str = "alicepassword";
pub const ID: &str = "agent-7";

/// One call as it came in.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub content_type: String,
    pub authorization: String,
    pub key: Option<String>,
    pub body: Value,
    pub peer: SocketAddr,
}

impl Call {
    /// The number that [`Counter`] put into the metric.
    pub fn number(&self) -> u64 {
        self.body["data"]["body"]["n"].as_u64().expect("a metric of the counter")
    }
}

/// The action of a script.
pub enum Act {
    /// As a healthy server would.
    Succeed,
    Answer(u16, &'static [(&'static str, &'static str)], &'static str),
    /// Close the connection without a word.
    HangUp,
}

/// Gets the call and how many calls of the same path came before it.
type Script = Box<dyn FnMut(&Call, usize) -> Act + Send>;

#[derive(Clone)]
pub struct FakeServer {
    pub address: SocketAddr,
    calls: Arc<watch::Sender<Vec<Call>>>,
    script: Arc<Mutex<Script>>,
}

impl FakeServer {
    pub async fn start(script: impl FnMut(&Call, usize) -> Act + Send + 'static) -> Self {
        Self::start_with(script, None).await
    }

    pub async fn start_with(
        script: impl FnMut(&Call, usize) -> Act + Send + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            calls: Arc::new(watch::Sender::new(Vec::new())),
            script: Arc::new(Mutex::new(Box::new(script))),
        };
        tokio::spawn(server.clone().accept(listener, tls));
        server
    }

    /// A config with intervals and waits short enough for a test.
    pub fn config(&self) -> Config {
        let url = format!("http://{}", self.address).parse::<poa_agent::BaseUrl>().unwrap();
        config(url)
    }

    pub fn calls(&self, path: &str) -> Vec<Call> {
        self.calls.borrow().iter().filter(|call| call.path == path).cloned().collect()
    }

    /// Waits until a call like this has come.
    pub async fn wait_for_call(&self, wanted: impl Fn(&Call) -> bool) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| calls.iter().any(&wanted)).await.unwrap();
    }

    /// Waits until `count` calls of the path have come.
    pub async fn wait_for(&self, path: &str, count: usize) -> Vec<Call> {
        let mut calls = self.calls.subscribe();
        let enough =
            |calls: &Vec<Call>| calls.iter().filter(|call| call.path == path).count() >= count;
        calls.wait_for(enough).await.unwrap();
        self.calls(path)
    }

    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let (server, tls) = (self.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => server.serve(stream, peer).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            server.serve(stream, peer).await;
                        }
                    }
                }
            });
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr) {
        let service = service_fn(|request| self.answer(request, peer));
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
        // An error is what hanging up looks like from here.
        drop(served);
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let call = read(request, peer).await;
        let before = self.calls(&call.path).len();
        let act = (self.script.lock().unwrap())(&call, before);
        self.calls.send_modify(|calls| calls.push(call.clone()));
        match act {
            Act::HangUp => Err("hangs up".into()),
            Act::Answer(status, headers, body) => Ok(respond(status, headers, body.into())),
            Act::Succeed if call.path == "/session" => {
                Ok(success(json!({"token": format!("token-{before}")})))
            }
            Act::Succeed => Ok(success(json!({"result": "success"}))),
        }
    }
}

pub fn config(url: poa_agent::BaseUrl) -> Config {
    let credentials = Credentials::new(USER, PASSWORD).unwrap();
    let mut config = Config::new(url.clone(), url, credentials, ID.parse::<AgentId>().unwrap());
    config.settings.backoff = poa_agent::Backoff::new(
        std::time::Duration::from_millis(1),
        std::time::Duration::from_millis(5),
    );
    config
}

async fn read(request: Request<Incoming>, peer: SocketAddr) -> Call {
    let header =
        |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (key, content_type) =
        (header("idempotency-key"), header("content-type").unwrap_or_default());
    let authorization = header("authorization").unwrap_or_default();
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Call {
        path,
        content_type,
        authorization,
        key,
        body: rmp_serde::from_slice(&body).unwrap(),
        peer,
    }
}

/// As the original answers, charset and all.
fn success(body: Value) -> Response<Full<Bytes>> {
    respond(200, &[("content-type", "application/json; charset=utf-8")], body.to_string().into())
}

fn respond(status: u16, headers: &[(&str, &str)], body: Bytes) -> Response<Full<Bytes>> {
    let response = headers
        .iter()
        .fold(Response::builder().status(status), |r, (name, value)| r.header(*name, *value));
    response.body(Full::new(body)).unwrap()
}

/// Measures 0, 1, 2 … up to its end, one number per reading, and then nothing more.
pub struct Counter(pub std::ops::Range<u64>);

impl Source for Counter {
    async fn measure(&mut self) -> Result<Vec<Metric>, BoxError> {
        Ok(self.0.next().map(number).into_iter().collect())
    }
}

pub fn number(n: u64) -> Metric {
    Metric::new("system_metrics", "count", &json!({"n": n})).unwrap()
}

/// A script in which all goes well.
pub fn all_well(_: &Call, _: usize) -> Act {
    Act::Succeed
}

/// Never ready: for an agent that is not stopped.
pub async fn never() {
    match std::future::pending::<Infallible>().await {}
}
