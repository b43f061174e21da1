//! One request from its head to its outcome.

use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Request};
use poa_core::HandlerContext;
use poa_core::auth::{Authenticator, Principal};
use poa_http::{Body, BodyError};
use poa_protocol::{CallKind, Format, Limits, Refusal, decode};

use crate::answer::{self, Accepted, Answer};
use crate::metrics::Metrics;
use crate::take::Taking;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What all requests share.
pub(crate) struct Service {
    cx: HandlerContext,
    /// When absent, everybody may speak.
    authenticator: Option<Arc<dyn Authenticator>>,
    metrics: Metrics,
}

impl Service {
    pub(crate) fn new(cx: HandlerContext, authenticator: Option<Arc<dyn Authenticator>>) -> Self {
        let metrics = Metrics::new(cx.telemetry(), cx.name());
        Self { cx, authenticator, metrics }
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let begin = Instant::now();
        let Some(kind) = CallKind::from_path(request.uri().path()) else {
            self.metrics.unknown_path();
            return answer::negative(&Refusal::NotFound { what: "path" });
        };
        let outcome = self.handle(kind, request).await;
        let status = outcome.as_ref().map_or_else(Refusal::status, |_| 200);
        self.metrics.answered(kind, status, begin.elapsed());
        match outcome {
            Ok(accepted) => answer::positive(&accepted),
            Err(refused) => answer::negative(&refused),
        }
    }

    /// The checks in the order of the protocol (section 2): a stranger learns and costs as little as possible.
    async fn handle(&self, kind: CallKind, request: Request<Body>) -> Result<Accepted, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed { allow: "POST" });
        }
        let caller = self.caller(request.headers())?;
        let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let format = Format::from_content_type(content_type)?;
        let (head, body) = request.into_parts();
        let body = body.read(self.cx.memory()).await.map_err(unread)?;
        let (accepted, receipt) = {
            let call = decode(kind, format, &body, &Limits::default())?;
            let (cx, caller) = (&self.cx, caller.as_ref());
            let key = idempotency_key(&head.headers)?;
            Taking { cx, caller, format, body: &body, key }.take(call)?
        };
        // A receipt may take long. What the message needs of the body, it has.
        drop(body);
        if let Some(receipt) = receipt {
            receipt.await?;
        }
        Ok(accepted)
    }

    /// Who calls; nobody in particular when everybody may.
    fn caller(&self, headers: &HeaderMap) -> Result<Option<Principal>, Refusal> {
        let Some(authenticator) = &self.authenticator else {
            // Browsers ask before they send JSON elsewhere, unless a name was made to point here after the page was loaded.
            return if headers.contains_key(ORIGIN) { Err(Refusal::FromPage) } else { Ok(None) };
        };
        let token = bearer(headers).ok_or(Refusal::Unauthorized)?;
        Ok(Some(authenticator.verify(token)?))
    }
}

/// Why a body could not be read, in the words of the protocol.
fn unread(error: BodyError) -> Refusal {
    match error {
        BodyError::TooLarge { limit } => Refusal::TooLarge { limit },
        BodyError::Timeout(_) => Refusal::BodyTimeout,
        BodyError::Busy => Refusal::not_now("too much is being received at once"),
        _ => Refusal::Incomplete,
    }
}

/// The key that tells a call from the same call sent again, if the agent gave one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let field = "Idempotency-Key";
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Refusal::InvalidField { field, problem: "must be UTF-8" })
}

/// The token of an `Authorization: Bearer …` header, the scheme in any letter case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer_of(value: &'static str) -> Option<String> {
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, http::HeaderValue::from_static(value))]);
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn the_scheme_comes_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer_of(value).as_deref(), Some("a.b.c"), "{value}");
        }
        for value in ["Basic a.b.c", "a.b.c", "Bearer", ""] {
            assert_eq!(bearer_of(value), None, "{value}");
        }
    }
}
