//! The routes that need the admin token: reload, plan, tap, top.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{RawQuery, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use poa_core::config::Secret;
use tokio::sync::{mpsc, oneshot};

use super::guard::presents;
use super::routes::refusal;
use super::token::AdminToken;
use crate::reload::Reloaded;
use crate::tap::{TapFilter, Taps};
use crate::{Plan, Problems};

/// A request to the server over its admin listener.
#[derive(Debug)]
pub(crate) enum Command {
    /// Reload the configuration.
    Reload(oneshot::Sender<Reloaded>),
    /// Plan a reload of this file, or of the server's own configuration.
    Plan(Option<PathBuf>, oneshot::Sender<Result<Plan, Problems>>),
}

/// The path from the admin listener to the server. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    token: Arc<OnceLock<AdminToken>>,
    /// The token of `[admin]`, which is accepted as well.
    configured: Option<Secret>,
    commands: mpsc::Sender<Command>,
    pub(crate) taps: Taps,
}

/// The most commands that wait; more are refused.
const WAITING: usize = 4;
/// How long a command may take before its caller is referred to `/status`.
const PATIENCE: Duration = Duration::from_secs(120);

impl Control {
    /// A path that is closed until it has a token, and the commands that arrive over it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, come) = mpsc::channel(WAITING);
        let (token, taps) = (Arc::default(), Taps::default());
        (Self { token, configured: None, commands, taps }, come)
    }

    /// The same path, which admits requests with this token as well.
    pub(super) fn accepting(self, configured: Option<Secret>) -> Self {
        Self { configured, ..self }
    }

    /// Whether a request has the token in the data directory or the one of `[admin]`.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION);
        let own =
            self.token.get().zip(given).is_some_and(|(own, given)| own.opens(given.as_bytes()));
        own || self.configured.as_ref().is_some_and(|token| presents(headers, token))
    }

    /// Admits requests with this token.
    pub(crate) fn open(&self, token: AdminToken) {
        let _ = self.token.set(token);
    }

    /// The routes that need the token.
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/reload", post(reload))
            .route("/plan", post(plan))
            .route("/tap", get(tap))
            .route("/top", get(top))
            .route_layer(middleware::from_fn_with_state(self.clone(), guard))
            .with_state(self)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Response> {
        let (done, answer) = oneshot::channel();
        let busy =
            || unavailable("the server is busy with other commands, or is stopping; try again");
        self.commands.try_send(command(done)).map_err(|_| busy())?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(busy()),
            Err(_) => Err(unavailable("the command takes long; see /status for the result")),
        }
    }
}

fn unavailable(message: &str) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message.to_owned())
}

/// Passes requests that carry the token.
async fn guard(State(control): State<Control>, request: Request, next: Next) -> Response {
    if control.admits(request.headers()) {
        return next.run(request).await;
    }
    if control.token.get().is_none() {
        return unavailable(
            "there is no admin token; the server is starting, or could not create the token",
        );
    }
    let message = "this needs the admin token: `Authorization: Bearer …`, from the file admin_token in the data directory";
    refusal(StatusCode::UNAUTHORIZED, "unauthorized", message.to_owned())
}

async fn reload(State(control): State<Control>) -> Response {
    tracing::info!(target: "poa_audit", by = "admin listener", "reload requested");
    control
        .ask(Command::Reload)
        .await
        .map_or_else(|refusal| refusal, |done| Json(done).into_response())
}

async fn plan(State(control): State<Control>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut keys = form_urlencoded::parse(query.as_bytes());
    // A file on the machine of the server.
    let file = keys.find(|(key, _)| key == "file").map(|(_, file)| PathBuf::from(&*file));
    match control.ask(|done| Command::Plan(file, done)).await {
        Ok(Ok(plan)) => Json(plan).into_response(),
        Ok(Err(problems)) => {
            refusal(StatusCode::UNPROCESSABLE_ENTITY, "configuration", problems.to_string())
        }
        Err(refusal) => refusal,
    }
}

async fn tap(State(control): State<Control>, RawQuery(query): RawQuery) -> Response {
    let filter = match TapFilter::parse(query.as_deref().unwrap_or_default()) {
        Ok(filter) => filter,
        Err(message) => return refusal(StatusCode::BAD_REQUEST, "query", message),
    };
    match control.taps.tap(filter) {
        Some(tap) => tap.into_response(),
        None => too_many(),
    }
}

async fn top(State(control): State<Control>) -> Response {
    match control.taps.top() {
        Some(top) => top.into_response(),
        None => too_many(),
    }
}

fn too_many() -> Response {
    let message = "the maximum number of taps is in use; end one".to_owned();
    refusal(StatusCode::TOO_MANY_REQUESTS, "too_many", message)
}
