//! What can be asked.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use poa_core::status::Status;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::process;
use super::view::{Phase, View};

type Seen = watch::Receiver<View>;

/// The text format of the metrics, which ends in `# EOF` (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const END: &str = "# EOF\n";

pub(crate) fn router(seen: Seen) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(seen)
}

async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

async fn ready(State(seen): State<Seen>) -> Response {
    let view = seen.borrow();
    if view.is_ready() {
        return Json(json!({ "ready": true })).into_response();
    }
    let body = json!({ "ready": false, "why": view.phase.explain() });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn metrics(State(seen): State<Seen>) -> Response {
    let host = seen.borrow().host.clone();
    let mut text = host.map(|host| host.metrics()).unwrap_or_default();
    text.truncate(text.trim_end_matches(END).len());
    process::write(&mut text);
    text.push_str(END);
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

#[derive(Serialize)]
struct Shown {
    version: &'static str,
    phase: Phase,
    warnings: Vec<String>,
    #[serde(flatten)]
    host: Option<Status>,
}

async fn status(State(seen): State<Seen>) -> Response {
    let View { phase, host, warnings } = seen.borrow().clone();
    let host = host.map(|host| host.status());
    Json(Shown { version: env!("CARGO_PKG_VERSION"), phase, warnings, host }).into_response()
}

async fn not_found(uri: Uri) -> Response {
    let message = format!(
        "there is no {}; there are /health/live, /health/ready, /metrics and /status",
        uri.path()
    );
    refusal(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} is read with GET, not {method}", uri.path());
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

pub(super) fn refusal(status: StatusCode, error: &str, message: String) -> Response {
    (status, Json(json!({ "error": error, "message": message }))).into_response()
}
