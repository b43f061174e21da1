//! An InfluxDB in memory: replaces points that have the same measurement, tags and timestamp, as the real one does.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "shared by the tests of two examples")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// Points by timestamp, and then by measurement and tags.
type Points = BTreeMap<(u64, String), String>;

/// The server. It runs until the runtime of the test ends.
#[derive(Clone, Default)]
pub struct Server(Arc<State>);

#[derive(Default)]
struct State {
    points: Mutex<Points>,
    /// Answers to the next writes, in place of storing them.
    refusals: Mutex<Vec<StatusCode>>,
    /// The last request line and authorization.
    last: Mutex<(String, Option<String>)>,
}

impl Server {
    /// Starts it on a free port; returns its address as well.
    pub async fn start() -> (Self, String) {
        let server = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                let service = service_fn(move |request| answer(server.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (server, address)
    }

    /// Answers the next write with this status.
    pub fn refuse(&self, status: StatusCode) {
        self.0.refusals.lock().push(status);
    }

    /// The stored points, oldest first.
    pub fn points(&self) -> Vec<String> {
        self.0.points.lock().values().cloned().collect()
    }

    /// The ids of the stored messages, oldest first.
    pub fn ids(&self) -> Vec<String> {
        let id = |point: &String| {
            let (_, rest) = point.split_once("message_id=\"").unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        self.points().iter().map(id).collect()
    }

    /// The last request line and authorization.
    pub fn last(&self) -> (String, Option<String>) {
        self.0.last.lock().clone()
    }

    fn store(&self, lines: &str) {
        for line in lines.lines() {
            let (point, timestamp) = line.rsplit_once(' ').unwrap();
            let (series, _) = point.split_once(" message_id=").unwrap();
            let key = (timestamp.parse().unwrap(), series.to_owned());
            self.0.points.lock().insert(key, line.to_owned());
        }
    }
}

async fn answer(
    server: Server,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    *server.0.last.lock() = (format!("{} {}", request.method(), request.uri()), authorization);
    let Ok(body) = request.into_body().collect().await else {
        // The client was dropped in the middle of its request.
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    let refusal = server.0.refusals.lock().pop();
    if let Some(refusal) = refusal {
        return Ok(status(refusal));
    }
    server.store(std::str::from_utf8(&body.to_bytes()).unwrap());
    Ok(status(StatusCode::NO_CONTENT))
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
