//! The request that opens a session.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use poa_core::HandlerContext;
use poa_core::auth::Authenticator;
use poa_http::Body;
use poa_http::websocket::{Options, upgrade};
use poa_protocol::Refusal;

use crate::Config;
use crate::access::{Access, STRANGER};
use crate::conversation::Conversation;
use crate::metrics::{Call, Metrics};

/// The state that all connections share.
pub(crate) struct Service {
    pub(crate) cx: HandlerContext,
    /// Without one, no token is needed.
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
}

type Answer = Response<Full<Bytes>>;

impl Service {
    pub(crate) fn new(
        cx: HandlerContext,
        authenticator: Option<Arc<dyn Authenticator>>,
        config: Config,
    ) -> Self {
        let metrics = Metrics::new(cx.telemetry(), cx.name());
        Self { cx, authenticator, config, metrics }
    }

    /// The largest message, in bytes.
    pub(crate) fn max_message(&self) -> usize {
        usize::try_from(self.config.limits.body.get()).unwrap_or(usize::MAX)
    }

    pub(crate) fn answer(self: &Arc<Self>, request: Request<Body>) -> Answer {
        let answer = self.open(request);
        self.metrics.answered(Call::Upgrade, answer.status().as_u16());
        answer
    }

    /// The checks in the order of REST: an unauthenticated client learns and costs as little as
    /// possible.
    fn open(self: &Arc<Self>, mut request: Request<Body>) -> Answer {
        if request.uri().path() != self.config.path {
            return refuse(&Refusal::NotFound { what: "path" });
        }
        let access = match self.access(request.headers()) {
            Ok(access) => access.at(request.body().peer().ip()),
            Err(refusal) => return refuse(&refusal),
        };
        let limit = if access.is_open() { self.max_message() } else { STRANGER };
        let options = Options::default()
            .max_message(limit.min(self.max_message()))
            .memory(self.cx.memory().clone());
        let service = self.clone();
        let session = move |socket| Conversation::new(service, socket, access).run();
        match upgrade(&mut request, &options, session) {
            Ok(switching) => switching.map(|()| Full::default()),
            Err(refused) => refused.answer().map(Full::from),
        }
    }

    /// The authorisation by the headers of the request. A wrong token is an error, an absent one is
    /// not.
    fn access(&self, headers: &HeaderMap) -> Result<Access, Refusal> {
        let authenticator = self.authenticator.as_ref();
        let token = match (authenticator, headers.get(AUTHORIZATION)) {
            // Any page can make a browser open a WebSocket, and the browser names the page's
            // origin.
            (None, _) if headers.contains_key(ORIGIN) => return Err(Refusal::FromPage),
            (Some(_), Some(value)) => Some(bearer(value).ok_or(Refusal::Unauthorized)?),
            _ => None,
        };
        Access::new(authenticator, self.config.auth_timeout.get(), token)
    }
}

/// The token of an `Authorization: Bearer …` header; the scheme is case-insensitive.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse(refusal: &Refusal) -> Answer {
    let mut answer = Response::new(Full::from(refusal.body().into_owned()));
    *answer.status_mut() =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if refusal.status() == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    answer
}
