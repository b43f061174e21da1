//! A composition that is told step by step, as lines of JSON.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Either;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use poa_gilmour::compose::Watcher;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, Interval};

use super::Answer;
use super::calls::Evaluation;

/// The content type of such an answer, and what asks for it in `Accept`.
pub(super) const LINES: &str = "application/x-ndjson";

/// How often an empty line is sent: a client that left is noticed by what cannot be sent to it.
const BEAT: Duration = Duration::from_secs(2);

/// An evaluation under way, as a body: the outline, then each step as it begins and ends, then the documented answer.
///
/// It is evaluated while it is read. Dropped, the calls under way are dropped with it.
pub(crate) struct Progress {
    beat: Interval,
    evaluating: Option<BoxFuture<'static, poa_gilmour::Response>>,
    lines: Arc<Lines>,
}

/// The lines that were not read yet.
struct Lines {
    begin: Instant,
    text: Mutex<Vec<u8>>,
}

impl Lines {
    fn add<T: Serialize>(&self, line: &T) {
        let mut text = self.text.lock();
        // All of it is text, numbers and JSON.
        text.extend(serde_json::to_vec(line).unwrap_or_default());
        text.push(b'\n');
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Watcher for Lines {
    fn began(&self, step: usize) {
        self.add(&json!({"step": step, "began": self.milliseconds()}));
    }

    fn ended(&self, step: usize, response: &poa_gilmour::Response) {
        self.add(&json!({"step": step, "ended": self.milliseconds(), "code": response.code()}));
    }
}

impl Progress {
    pub(super) fn of(evaluation: Evaluation) -> Self {
        let lines = Arc::new(Lines { begin: Instant::now(), text: Mutex::default() });
        lines.add(&json!({"outline": evaluation.composition.outline()}));
        let watcher = lines.clone();
        let evaluating = async move { evaluation.run_watched(&*watcher).await }.boxed();
        let beat = tokio::time::interval_at(Instant::now() + BEAT, BEAT);
        Self { beat, evaluating: Some(evaluating), lines }
    }
}

impl Body for Progress {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(evaluating) = &mut self.evaluating
            && let Poll::Ready(response) = evaluating.poll_unpin(cx)
        {
            self.lines.add(&response);
            self.evaluating = None;
        }
        if self.beat.poll_tick(cx).is_ready() {
            self.lines.text.lock().push(b'\n');
        }
        let text = std::mem::take(&mut *self.lines.text.lock());
        if !text.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(text.into()))));
        }
        if self.evaluating.is_some() { Poll::Pending } else { Poll::Ready(None) }
    }
}

/// The answer that has it. Its status is 200, whatever becomes of the composition: that is in the last line.
pub(super) fn answer(progress: Progress) -> Answer {
    let mut answer = Response::new(Either::Right(progress));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
