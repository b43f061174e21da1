//! The host's authenticator, for handlers.

use std::ffi::c_void;

use poa_core::auth::{AuthError, Authenticator, Principal};
use poa_core::{AgentId, async_trait};
use serde::Deserialize;
use tokio::sync::{oneshot, watch};

use super::context::HostRef;
use super::task::error;
use crate::abi::{self, Bytes, Done, Outcome, Sink};
use crate::sized;

/// Asks the host.
pub(super) struct HostAuthenticator {
    host: HostRef,
    handler: u64,
    revocations: watch::Receiver<u64>,
}

impl HostAuthenticator {
    pub(super) fn new(host: HostRef, handler: u64, revocations: watch::Receiver<u64>) -> Self {
        Self { host, handler, revocations }
    }

    fn begin_login(&self, user: &str, password: &str) -> oneshot::Receiver<(u32, String)> {
        let (answer, answered) = oneshot::channel();
        if let Some(login) = self.host.functions.login {
            let done =
                Done { context: Box::into_raw(Box::new(answer)).cast(), function: Some(logged_in) };
            let (user, password) = (Bytes::of(user.as_bytes()), Bytes::of(password.as_bytes()));
            // SAFETY: the host's function and pointer; the texts are lent for this call.
            unsafe { login(self.host.pointer, self.handler, user, password, done) };
        }
        answered
    }
}

/// An identity, as written by the host.
#[derive(Deserialize)]
struct Who {
    user: String,
    agent: Option<String>,
}

fn principal(text: &str) -> Result<Principal, AuthError> {
    let who: Who =
        serde_json::from_str(text).map_err(|error| AuthError::Unavailable(error.into()))?;
    let agent = who.agent.map(AgentId::new).transpose();
    Ok(Principal::new(who.user, agent.map_err(|error| AuthError::Unavailable(error.into()))?))
}

fn rejection(code: u32) -> AuthError {
    match code {
        abi::POA_EXPIRED => AuthError::Expired,
        abi::POA_BUSY => AuthError::Busy,
        abi::POA_UNAUTHORIZED => AuthError::Unauthorized,
        _ => AuthError::Unavailable(error("the host does not answer")),
    }
}

unsafe extern "C-unwind" fn logged_in(context: *mut c_void, result: *const Outcome) {
    // SAFETY: made by `begin_login`, and the host calls exactly once.
    let answer = unsafe { Box::from_raw(context.cast::<oneshot::Sender<(u32, String)>>()) };
    // SAFETY: lent by the host until this returns.
    let outcome = unsafe { sized::read(result).map(|outcome| (outcome.code, outcome.text.text())) };
    // A caller that no longer waits needs no token.
    let _ = answer.send(outcome.unwrap_or((abi::POA_STOPPED, String::new())));
}

#[async_trait]
impl Authenticator for HostAuthenticator {
    fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let Some(verify) = self.host.functions.verify else { return Err(rejection(0)) };
        let mut text = String::new();
        let token = Bytes::of(token.as_bytes());
        // SAFETY: the host's function and pointer; text and sink are lent for this call.
        let code = unsafe { verify(self.host.pointer, self.handler, token, Sink::into(&mut text)) };
        if code == abi::POA_OK { principal(&text) } else { Err(rejection(code)) }
    }

    async fn login(&self, user: &str, password: &str) -> Result<String, AuthError> {
        let answered = self.begin_login(user, password);
        match answered.await {
            Ok((abi::POA_OK, token)) => Ok(token),
            Ok((code, _)) => Err(rejection(code)),
            Err(_) => Err(rejection(0)),
        }
    }

    fn revocations(&self) -> watch::Receiver<u64> {
        self.revocations.clone()
    }
}
