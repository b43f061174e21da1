//! Lines on their way to a client that watches.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;

/// The lines as they arrive, until one side ends.
#[derive(Debug)]
pub(crate) struct Stream(mpsc::Receiver<Bytes>);

impl Stream {
    pub(super) fn new(lines: mpsc::Receiver<Bytes>) -> Self {
        Self(lines)
    }

    #[cfg(test)]
    pub(super) async fn next(&mut self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.0.recv().await?).ok()
    }
}

impl IntoResponse for Stream {
    fn into_response(self) -> Response {
        let lines = stream::unfold(self.0, |mut lines| async move {
            let line = lines.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(line), lines))
        });
        ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
    }
}
