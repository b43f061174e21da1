//! The yardstick: a hyper server written by hand for this one request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{TYPES, announce};
use crate::Failure;

const KEY: &[u8] = b"a key for measurements, nothing else";

#[derive(Clone, Serialize, Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    exp: u64,
}

#[derive(Deserialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    data_type: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// One message in the queue.
struct Queued {
    _agent: String,
    _type: usize,
    _data: Bytes,
}

struct State {
    cache: bool,
    verified: RwLock<HashMap<String, u64>>,
    key: DecodingKey,
    validation: Validation,
    queue: mpsc::Sender<Queued>,
}

pub(super) async fn serve(cache: bool) -> Result<(), Failure> {
    let (queue, mut queued) = mpsc::channel(100_000);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while queued.recv_many(&mut batch, 1000).await > 0 {
            batch.clear();
        }
    });
    let mut validation = Validation::new(Algorithm::HS512);
    validation.set_audience(&["poa_backend"]);
    validation.set_issuer(&["poa_backend"]);
    let key = DecodingKey::from_secret(KEY);
    let state = Arc::new(State { cache, verified: RwLock::default(), key, validation, queue });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(&listener.local_addr()?.to_string(), &token()?);
    // The parent closes stdin when it is done with this server.
    let ended = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    tokio::select! {
        ended = ended => ended?.map(drop).map_err(Failure::from),
        failed = accept(listener, state) => failed,
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&state, request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            // A connection that the load closed is not an error here.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn token() -> Result<String, Failure> {
    let claims = Claims {
        aud: "poa_backend".into(),
        iss: "poa_backend".into(),
        sub: "agent".into(),
        exp: now() + 3600,
    };
    let key = EncodingKey::from_secret(KEY);
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key)?)
}

impl State {
    fn verify(&self, token: &str) -> bool {
        if self.cache && self.verified.read().get(token).is_some_and(|exp| *exp > now()) {
            return true;
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation);
        match claims {
            Ok(data) => {
                self.verified.write().insert(token.to_owned(), data.claims.exp);
                true
            }
            Err(_) => false,
        }
    }
}

async fn answer(
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match handle(state, request).await {
        Ok(()) => (StatusCode::OK, Bytes::from_static(br#"{"result":"success"}"#)),
        Err(status) => (status, Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn handle(state: &State, request: Request<Incoming>) -> Result<(), StatusCode> {
    if request.uri().path() != "/data" {
        return Err(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    if !token.is_some_and(|token| state.verify(token)) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let body = Limited::new(request.into_body(), 8_000_000).collect().await;
    let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
    let call: Call<'_> = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let known = TYPES.iter().position(|name| *name == call.data_type);
    let queued = Queued {
        _agent: call.id.to_owned(),
        _type: known.ok_or(StatusCode::UNPROCESSABLE_ENTITY)?,
        _data: body.slice_ref(call.data.get().as_bytes()),
    };
    state.queue.try_send(queued).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}
