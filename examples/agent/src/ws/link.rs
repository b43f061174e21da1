//! A connection that is made when it is needed, and made again when it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{StatusCode, Uri};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::dial::{DialError, Socket, dial};
use super::frame::Call;
use super::lost::Lost;
use crate::web::{Session, Token};
use crate::{AgentId, Backoff, BaseUrl, BoxError, CallError};

/// One connection to a WebSocket handler, shared by any number of agents. Clones share it.
///
/// It is made by the first call, and made again by the first call after it was lost and a wait is over: exponential backoff
/// with full jitter, so that a fleet does not come back in one moment.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    session: Session,
    uri: Uri,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: Option<Arc<Connection>>,
    token: Option<Token>,
    /// The server did not like it.
    token_refused: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
}

/// The connection was lost a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("there is no connection, and the next attempt to make one has to wait")]
struct TooSoon;

impl Link {
    /// Prepares to connect to `server` with tokens of `session`; nothing is sent yet.
    #[must_use]
    pub fn new(session: Session, server: &BaseUrl) -> Self {
        let state = Mutex::new(State {
            connection: None,
            token: None,
            token_refused: false,
            backoff: session.backoff(),
            not_before: None,
        });
        Self(Arc::new(Shared { session, uri: server.socket(), state }))
    }

    pub(super) async fn connect(&self) -> Result<(), CallError> {
        self.connection().await.map(drop)
    }

    /// Makes a call, and tells how long the answer took. A refused token fails it; the next call gets a new one.
    pub(super) async fn call(&self, id: &AgentId, call: Call<'_>) -> Result<Duration, CallError> {
        let connection = self.connection().await?;
        let begun = Instant::now();
        let asked = connection.ask(|reference| call.encode(id, reference));
        let Ok(outcome) = timeout(self.0.session.timeout(), asked).await else {
            // Answers come in the order of the calls, so no later one would be answered either.
            connection.cut(Lost::GivenUp);
            let source = format!("no answer within {:?}", self.0.session.timeout());
            return Err(self.unavailable(call.name(), source.into()));
        };
        match outcome {
            Ok(Ok(())) => {
                self.0.session.token_was_good();
                Ok(begun.elapsed())
            }
            Ok(Err(refusal)) => {
                if refusal.status == StatusCode::UNAUTHORIZED {
                    connection.cut(Lost::unauthorized(&refusal.message));
                }
                Err(refusal.into_error(self.describe(call.name())))
            }
            Err(lost) => Err(self.unavailable(call.name(), lost.into())),
        }
    }

    /// Closes the connection, if there is one. For use after the last call of all agents; a later call reconnects.
    pub async fn close(&self) {
        let connection = self.0.state.lock().await.connection.take();
        if let Some(connection) = connection.and_then(Arc::into_inner) {
            connection.close().await;
        }
    }

    pub(super) async fn cut(&self) {
        if let Some(connection) = self.0.state.lock().await.connection.take() {
            connection.cut(Lost::Left);
        }
    }

    /// The connection there is, else a new one.
    ///
    /// Cancel safe: at worst a connection is made and not used.
    async fn connection(&self) -> Result<Arc<Connection>, CallError> {
        // Held while connecting, so that many agents make one connection.
        let mut state = self.0.state.lock().await;
        if let Some(connection) = state.live() {
            return Ok(connection);
        }
        if let Some(wait) = state.wait() {
            let call = self.describe("connect");
            return Err(CallError::Unavailable {
                call,
                retry_after: Some(wait),
                source: TooSoon.into(),
            });
        }
        let socket = self.open(&mut state).await.inspect_err(|_| state.hold_back())?;
        Ok(Arc::clone(state.connection.insert(Arc::new(Connection::start(socket)))))
    }

    /// With the token that was good last, and with a new one if it no longer is.
    async fn open(&self, state: &mut State) -> Result<Socket, CallError> {
        for _ in 0..2 {
            let refused = state.token.take_if(|_| state.token_refused);
            let token = self.0.session.token(refused.as_ref()).await?;
            state.token = Some(token.clone());
            match self.dial(&token).await {
                Err(DialError::Unauthorized) => state.token_refused = true,
                outcome => {
                    state.token_refused = false;
                    return outcome.map_err(|error| self.unavailable("connect", error.into()));
                }
            }
        }
        Err(self.unavailable("connect", DialError::Unauthorized.into()))
    }

    async fn dial(&self, token: &Token) -> Result<Socket, DialError> {
        let Shared { session, uri, .. } = &*self.0;
        let limit = session.timeout();
        let dialled = timeout(limit, dial(uri, session.tls(), token)).await;
        dialled.unwrap_or(Err(DialError::TimedOut(limit)))
    }

    fn unavailable(&self, call: &str, source: BoxError) -> CallError {
        CallError::Unavailable { call: self.describe(call), retry_after: None, source }
    }

    fn describe(&self, call: &str) -> String {
        format!("{call} over {}", self.0.uri)
    }
}

impl State {
    fn live(&mut self) -> Option<Arc<Connection>> {
        let connection = self.connection.take()?;
        let Some(lost) = connection.lost() else {
            return Some(Arc::clone(self.connection.insert(connection)));
        };
        self.token_refused |= lost.is_about_the_token();
        if connection.good.load(Ordering::Relaxed) {
            self.backoff.reset();
        }
        self.hold_back();
        None
    }

    fn hold_back(&mut self) {
        self.not_before = Some(Instant::now() + self.backoff.delay(None));
    }

    fn wait(&self) -> Option<Duration> {
        let wait = self.not_before?.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }
}
