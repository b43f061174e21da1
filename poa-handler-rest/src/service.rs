//! One request from its head to its outcome.

use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Request};
use poa_core::HandlerContext;
use poa_core::auth::{Authenticator, Principal};
use poa_http::{Body, BodyError, Encoding, Received, network, sender_span};
use poa_protocol::{CallKind, Format, Limits, Refusal, decode};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answer::{self, Accepted, Answer};
use crate::metrics::Metrics;
use crate::take::Taking;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Bodies larger than this are decoded one at a time. That takes milliseconds, and must not delay small calls on all cores.
const LARGE: usize = 128 << 10;

/// The memory that an item of a batch takes while the batch is decoded and sent, besides its data.
const ITEM: usize = 256;

/// The size of the shortest possible item.
const SMALLEST_ITEM: usize = 16;

/// The state that all requests share.
pub(crate) struct Service {
    cx: HandlerContext,
    /// Without one, no token is needed.
    authenticator: Option<Arc<dyn Authenticator>>,
    limits: Limits,
    /// Permits to decode a large body.
    large: Semaphore,
    metrics: Metrics,
}

impl Service {
    pub(crate) fn new(
        cx: HandlerContext,
        authenticator: Option<Arc<dyn Authenticator>>,
        max_items: usize,
    ) -> Self {
        let metrics = Metrics::new(cx.telemetry(), cx.name());
        let limits = Limits { max_items, ..Limits::default() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let large = Semaphore::new(cores.div_ceil(2));
        Self { cx, authenticator, limits, large, metrics }
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

    /// The checks in the order of the protocol (section 2): an unauthenticated client learns and costs as little as possible.
    async fn handle(&self, kind: CallKind, request: Request<Body>) -> Result<Accepted, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed { allow: "POST" });
        }
        let caller = self.caller(request.headers())?;
        let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let format = Format::from_content_type(content_type)?;
        let encoding = Encoding::of(request.headers())
            .map_err(|unsupported| Refusal::unsupported_encoding(&unsupported.0))?;
        let (head, body) = request.into_parts();
        if let Some(caller) = &caller {
            body.charge_to(&caller.user);
        }
        let address = network(body.peer().ip());
        let mut body = body.read_as(encoding, self.cx.memory()).await.map_err(unread)?;
        let (accepted, receipt) = {
            let _turn = self.turn(&mut body).await?;
            let call = decode(kind, format, &body, &self.limits)?;
            let (cx, caller) = (&self.cx, caller.as_ref());
            let key = idempotency_key(&head.headers)?;
            let span = sender_span(&head.headers);
            Taking { cx, caller, format, body: &body, address, key, span }.take(call)?
        };
        // A receipt may take long. The message holds the part of the body that it needs.
        drop(body);
        if let Some(receipt) = receipt {
            receipt.await?;
        }
        Ok(accepted)
    }

    /// Waits for the permit of a large body, and reserves the memory for decoding it.
    async fn turn(&self, body: &mut Received) -> Result<Option<SemaphorePermit<'_>>, Refusal> {
        if body.len() <= LARGE {
            return Ok(None);
        }
        if is_batch(body) {
            // Each item is copied out of the body.
            let items = self.limits.max_items.min(body.len() / SMALLEST_ITEM);
            body.charge((body.len() + items * ITEM) as u64).map_err(unread)?;
        }
        Ok(self.large.acquire().await.ok())
    }

    /// The user; `None` when no token is needed.
    fn caller(&self, headers: &HeaderMap) -> Result<Option<Principal>, Refusal> {
        let Some(authenticator) = &self.authenticator else {
            // Browsers send a preflight request before they send JSON to another origin, unless a DNS name was pointed here
            // after the page was loaded.
            return if headers.contains_key(ORIGIN) { Err(Refusal::FromPage) } else { Ok(None) };
        };
        let token = bearer(headers).ok_or(Refusal::Unauthorized)?;
        Ok(Some(authenticator.verify(token)?))
    }
}

/// The refusal for a body that could not be read.
fn unread(error: BodyError) -> Refusal {
    match error {
        BodyError::TooLarge { limit } => Refusal::TooLarge { limit },
        BodyError::Timeout(_) => Refusal::BodyTimeout,
        BodyError::Busy => Refusal::not_now("too much is being received at once"),
        BodyError::OverShare => Refusal::over_share("memory for bodies"),
        BodyError::Encoding(_) => Refusal::InvalidEncoding,
        _ => Refusal::Incomplete,
    }
}

/// Whether a body starts as an array, in either format.
fn is_batch(body: &[u8]) -> bool {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'[' | 0x90..=0x9f | 0xdc | 0xdd))
}

/// The idempotency key, if the agent gave one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let field = "Idempotency-Key";
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| Refusal::InvalidField { field, problem: "must be UTF-8" })
}

/// The token of an `Authorization: Bearer …` header; the scheme is case-insensitive.
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
    fn the_scheme_is_case_insensitive() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer_of(value).as_deref(), Some("a.b.c"), "{value}");
        }
        for value in ["Basic a.b.c", "a.b.c", "Bearer", ""] {
            assert_eq!(bearer_of(value), None, "{value}");
        }
    }
}
