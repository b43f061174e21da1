//! The answers of the listener.

mod access;
mod answer;
pub(crate) mod assets;
mod guesses;
mod socket;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use poa_core::Timestamp;
use poa_core::telemetry::Gauge;
use poa_http::{Body, websocket};
use poa_page::{Answer, Files};
use tokio_util::sync::CancellationToken;

use crate::state::State;
pub(crate) use access::Access;
use access::{COOKIE_LIFE, COOKIE_NAME, Offer, query};
use answer::Refusal;
use assets::{HISTORY, SESSION};
use guesses::Guesses;
use socket::Talk;

/// The largest accepted body with a secret.
const LARGEST_SECRET: usize = 4 << 10;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) state: State,
    pub(crate) access: Access,
    guesses: Guesses,
    feed: String,
    secure: bool,
    queue: usize,
    clients: Gauge,
    files: Files,
    shutdown: CancellationToken,
}

/// The settings of a site.
pub(crate) struct Setup {
    pub(crate) feed: String,
    /// Whether it is served over TLS.
    pub(crate) secure: bool,
    /// The most bytes that wait for a client of the feed.
    pub(crate) queue: usize,
    pub(crate) clients: Gauge,
    pub(crate) shutdown: CancellationToken,
}

impl Site {
    pub(crate) fn new(setup: Setup, state: State, access: Access) -> Self {
        let Setup { feed, secure, queue, clients, shutdown } = setup;
        let files = Files::new(assets::all(), &[("feed", &feed)]);
        let guesses = Guesses::default();
        Self { state, access, guesses, feed, secure, queue, clients, files, shutdown }
    }

    /// Answers a request.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Body>) -> Answer {
        let path = request.uri().path();
        let answer = if path == self.feed {
            self.feed(request).await
        } else if path == SESSION {
            self.session(request).await
        } else if path == HISTORY {
            self.history(&request).await
        } else {
            self.file(&request)
        };
        answer.unwrap_or_else(Answer::from)
    }

    fn file(&self, request: &Request<Body>) -> Result<Answer, Refusal> {
        let found = self.files.get(request.uri().path(), request.headers());
        let file = found.ok_or(Refusal::NotFound)?;
        match *request.method() {
            Method::GET | Method::HEAD => Ok(file),
            _ => Err(Refusal::Method("GET, HEAD")),
        }
    }

    async fn feed(self: Arc<Self>, mut request: Request<Body>) -> Result<Answer, Refusal> {
        self.admit(&request).await?;
        // Before the answer: once a client has it, it relies on getting every later metric.
        let talk = Talk::new(request.headers(), self);
        let talk = move |socket| talk.hold(socket);
        Ok(match websocket::upgrade(&mut request, &socket::options(), talk) {
            Ok(switching) => switching.map(|()| Full::default()),
            Err(refused) => refused.answer().map(Full::from),
        })
    }

    async fn history(&self, request: &Request<Body>) -> Result<Answer, Refusal> {
        if request.method() != Method::GET {
            return Err(Refusal::Method("GET"));
        }
        self.admit(request).await?;
        let agent = query(request.uri(), "agent").ok_or(Refusal::UnknownAgent)?;
        let columns = self.state.history(&agent).ok_or(Refusal::UnknownAgent)?;
        // Encoding cannot fail: it contains only numbers.
        Ok(poa_page::json(serde_json::to_vec(&columns).unwrap_or_default()))
    }

    /// Exchanges the secret for a cookie. The body is JSON, which pages of other origins cannot send without
    /// permission.
    async fn session(&self, request: Request<Body>) -> Result<Answer, Refusal> {
        match *request.method() {
            Method::GET => {
                self.admit(&request).await?;
                Ok(poa_page::empty(StatusCode::NO_CONTENT))
            }
            Method::POST => {
                let peer = request.body().peer().ip();
                let secret = read_secret(request).await.ok_or(Refusal::NoSecret)?;
                self.check(peer, &secret).await?;
                Ok(self.with_cookie(poa_page::empty(StatusCode::NO_CONTENT)))
            }
            _ => Err(Refusal::Method("GET, POST")),
        }
    }

    fn with_cookie(&self, mut answer: Answer) -> Answer {
        let value = self.access.cookie(Timestamp::now());
        let life = COOKIE_LIFE.as_secs();
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie = format!(
            "{COOKIE_NAME}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}"
        );
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        answer
    }

    /// Admits a request with the secret or a valid cookie.
    async fn admit(&self, request: &Request<Body>) -> Result<(), Refusal> {
        match self.access.offer(request.uri(), request.headers()) {
            Offer::Cookie => Ok(()),
            Offer::Nothing => Err(Refusal::Unauthorized),
            Offer::Secret(secret) => self.check(request.body().peer().ip(), &secret).await,
        }
    }

    async fn check(&self, peer: IpAddr, secret: &str) -> Result<(), Refusal> {
        match self.guesses.look(peer, || self.access.is_secret(secret)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Unauthorized),
            Err(guesses::TooMany) => Err(Refusal::TooManyGuesses),
        }
    }
}

/// The secret in a body: a JSON string.
async fn read_secret(request: Request<Body>) -> Option<String> {
    let content_type = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let is_json = content_type.split(';').next()?.trim().eq_ignore_ascii_case("application/json");
    let body = Limited::new(request.into_body(), LARGEST_SECRET);
    let body = is_json.then(|| body.collect())?.await.ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}
