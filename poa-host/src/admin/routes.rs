//! The routes that need no token.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use poa_core::status::Status;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::control::Control;
use super::exposition::{END, OPEN_METRICS, PLAIN, plain, wants_open_metrics};
use super::view::{Phase, View};
use super::{process, program};
use crate::reload::Reloaded;

type Seen = watch::Receiver<View>;

pub(crate) fn router(seen: Seen, control: Control) -> Router {
    let open = Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(seen);
    open.merge(control.routes()).fallback(not_found).method_not_allowed_fallback(wrong_method)
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

async fn metrics(State(seen): State<Seen>, headers: HeaderMap) -> Response {
    let view = seen.borrow().clone();
    let mut text = view.host.as_ref().map(|host| host.metrics()).unwrap_or_default();
    text.truncate(text.trim_end_matches(END).len());
    process::write(&mut text);
    program::write(&mut text, &view);
    text.push_str(END);
    if wants_open_metrics(&headers) {
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, PLAIN)], plain(&text)).into_response()
    }
}

#[derive(Serialize)]
struct Shown {
    version: &'static str,
    commit: &'static str,
    phase: Phase,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reload: Option<Reloaded>,
    #[serde(flatten)]
    host: Option<Status>,
}

async fn status(State(seen): State<Seen>) -> Response {
    let View { phase, host, warnings, about, reloads, .. } = seen.borrow().clone();
    let host = host.map(|host| host.status());
    let (version, commit) = (about.version(), about.commit());
    let last_reload = reloads.last;
    Json(Shown { version, commit, phase, warnings, last_reload, host }).into_response()
}

async fn not_found(uri: Uri) -> Response {
    let message = format!(
        "there is no {}; there are /health/live, /health/ready, /metrics, /status, and with the admin token /reload, /plan, /tap and /top",
        uri.path()
    );
    refusal(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let right = if matches!(uri.path(), "/reload" | "/plan") { "POST" } else { "GET" };
    let message = format!("{} needs {right}, not {method}", uri.path());
    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

pub(super) fn refusal(status: StatusCode, error: &str, message: String) -> Response {
    (status, Json(json!({ "error": error, "message": message }))).into_response()
}
