//! The token, and how to come by a new one (POA Protocol, section 3).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::Answer;
use super::tls::{self, TlsError};
use super::{HttpClient, encode, post};
use crate::refusal::is_final;
use crate::{Backoff, CallError, Config, LoginError};

/// A login, and what it takes to reach the server: kept HTTP connections, certificates, timeouts.
///
/// Clones share it, so that all agents of a process may use one token, which is got when it is first needed and whenever
/// the server refuses the last one.
#[derive(Debug, Clone)]
pub struct Session(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: HttpClient,
    tls: Arc<ClientConfig>,
    timeout: Duration,
    backoff: Backoff,
    uri: Uri,
    user: String,
    basic: HeaderValue,
    body: Bytes,
    /// Set once a call with the present token was not answered 401.
    good: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    token: Option<Token>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

/// A token, ready to be sent. Clones are the same token.
#[derive(Debug, Clone)]
pub(crate) struct Token(Arc<HeaderValue>);

/// The auth server hands out tokens that the REST handler does not take, or none at all.
#[derive(Debug, thiserror::Error)]
#[error("the last login was of no use, so the next one has to wait")]
struct TooSoon;

#[derive(Serialize)]
struct Login<'a> {
    #[serde(rename = "agent-id")]
    agent_id: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    token: String,
}

impl Session {
    /// Prepares to log in; nothing is sent yet.
    ///
    /// # Errors
    /// If the certificates to believe in cannot be loaded.
    pub fn new(config: &Config) -> Result<Self, TlsError> {
        warn_of_plain_text(config);
        let tls = tls::client_config(config)?;
        let backoff = config.settings.backoff.clone();
        Ok(Self(Arc::new(Shared {
            client: HttpClient::with_tls(tls.clone(), config.request_timeout),
            tls: Arc::new(tls),
            timeout: config.request_timeout,
            uri: config.auth.join("/session"),
            user: config.credentials.user().to_owned(),
            basic: config.credentials.basic(),
            body: encode(&Login { agent_id: config.id.as_str() }),
            good: AtomicBool::new(false),
            state: Mutex::new(State { token: None, backoff: backoff.clone(), not_before: None }),
            backoff,
        })))
    }

    /// Logs in, unless there is a token already.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn connect(&self) -> Result<(), CallError> {
        self.token(None).await.map(drop)
    }

    pub(crate) fn client(&self) -> &HttpClient {
        &self.0.client
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.tls)
    }

    /// How long one exchange may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(crate) fn backoff(&self) -> Backoff {
        self.0.backoff.clone()
    }

    /// A token other than the `refused` one: the present one if there is such, else a new one.
    ///
    /// Logs in at most once at a time, for all callers, with growing delays after logins without effect.
    ///
    /// Cancel safe: at worst a token is not used.
    pub(crate) async fn token(&self, refused: Option<&Token>) -> Result<Token, CallError> {
        // Held while logging in, so that a ping and a metric refused together cost one login.
        let mut state = self.0.state.lock().await;
        if let Some(token) =
            state.token.as_ref().filter(|token| !refused.is_some_and(|r| r.is(token)))
        {
            return Ok(token.clone());
        }
        state.token = None;
        self.0.log_in(&mut state).await
    }

    /// To be called after a call that was not answered 401: the next login need not wait.
    pub(crate) fn token_was_good(&self) {
        self.0.good.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    async fn log_in(&self, state: &mut State) -> Result<Token, CallError> {
        self.hold_back(state)?;
        let answer = self.client.send(post(&self.uri, self.body.clone(), &self.basic)).await?;
        self.granted(state, answer)
    }

    fn hold_back(&self, state: &mut State) -> Result<(), CallError> {
        if self.good.swap(false, Ordering::Relaxed) {
            state.backoff.reset();
            state.not_before = None;
        }
        let wait = state.not_before.map_or(Duration::ZERO, |then| then - Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        Err(CallError::Unavailable {
            call: self.call(),
            retry_after: Some(wait),
            source: TooSoon.into(),
        })
    }

    fn granted(&self, state: &mut State, answer: Answer) -> Result<Token, CallError> {
        let status = answer.status;
        if !status.is_success() && !is_final(status) && !answer.is_unauthorized() {
            return Err(answer.refusal().into_not_now(self.call()));
        }
        state.not_before = Some(Instant::now() + state.backoff.ceiling());
        let token = self.read(&answer)?;
        tracing::debug!(url = %self.uri, user = self.user, "logged in");
        Ok(state.token.insert(token).clone())
    }

    fn read(&self, answer: &Answer) -> Result<Token, LoginError> {
        let (url, status) = (self.uri.to_string(), answer.status.as_u16());
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(LoginError::Refused { url, user: self.user.clone(), status })
            }
            fine if fine.is_success() => Token::read(answer).ok_or(LoginError::NoToken { url }),
            _ => Err(LoginError::Unexpected { url, status, message: answer.message() }),
        }
    }

    fn call(&self) -> String {
        format!("POST {}", self.uri)
    }
}

impl Token {
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Servers answer in JSON whatever they were asked in.
    fn read(answer: &Answer) -> Option<Self> {
        let granted: Granted = serde_json::from_slice(&answer.body).ok()?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", granted.token)).ok()?;
        header.set_sensitive(true);
        Some(Self(Arc::new(header)))
    }
}

fn warn_of_plain_text(config: &Config) {
    for url in [&config.server, &config.auth] {
        if !url.is_tls() && !url.is_loopback() {
            tracing::warn!(%url, "no TLS: password and tokens cross the network in plain text");
        }
    }
}
