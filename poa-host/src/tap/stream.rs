//! Lines on their way to a client that watches.

use std::sync::Weak;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;

use super::Taps;
use super::line::Line;
use super::watcher::Watcher;

/// The most lines that are written at once.
const TOGETHER: usize = 32;

/// The lines as they arrive, until one side ends. Dropping it ends the watching.
#[derive(Debug)]
pub(crate) struct Stream {
    lines: mpsc::Receiver<Line>,
    taps: Taps,
    watcher: Weak<Watcher>,
}

impl Stream {
    pub(super) fn new(lines: mpsc::Receiver<Line>, taps: Taps, watcher: Weak<Watcher>) -> Self {
        Self { lines, taps, watcher }
    }

    /// The client, for as long as it watches.
    pub(super) fn watcher(&self) -> Weak<Watcher> {
        self.watcher.clone()
    }

    /// The next lines as one text; `None` after the end.
    async fn text(&mut self) -> Option<Bytes> {
        let mut lines = Vec::new();
        self.lines.recv_many(&mut lines, TOGETHER).await;
        let mut text: Vec<_> = lines.into_iter().map(Line::text).collect();
        if text.len() > 1 { Some(text.concat().into()) } else { text.pop() }
    }

    #[cfg(test)]
    pub(super) async fn next(&mut self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.lines.recv().await?.text()).ok()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.taps.forget(&self.watcher);
    }
}

impl IntoResponse for Stream {
    fn into_response(self) -> Response {
        let lines = stream::unfold(self, |mut lines| async move {
            let text = lines.text().await?;
            Some((Ok::<_, std::convert::Infallible>(text), lines))
        });
        ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
    }
}
