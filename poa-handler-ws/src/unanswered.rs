//! Calls that wait for their answers, in the order in which they arrived.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use poa_core::Receipt;
use poa_core::auth::AuthError;
use poa_protocol::{Reference, Refusal};
use tokio::time::Instant;

use crate::metrics::Call;

/// Approximately the most bytes of references that are held: clients choose them.
const MAX_HELD: usize = 64 << 10;

type Login = Pin<Box<dyn Future<Output = Result<String, AuthError>> + Send>>;

/// The event that a call waits for.
pub(crate) enum Wait {
    /// Nothing.
    Over(Result<(), Refusal>),
    /// The receipt of its message.
    Receipt(Receipt),
    /// The check of its password.
    Login(Login),
}

/// The outcome of a call.
pub(crate) enum Outcome {
    Done,
    Token(String),
    Refused(Refusal),
}

/// A call that was accepted.
pub(crate) struct Unanswered {
    pub(crate) reference: Reference<'static>,
    pub(crate) call: Call,
    pub(crate) began: Instant,
    pub(crate) wait: Wait,
}

impl Unanswered {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.wait {
            Wait::Over(Ok(())) => Poll::Ready(Outcome::Done),
            Wait::Over(Err(refusal)) => Poll::Ready(Outcome::Refused(refusal.clone())),
            Wait::Receipt(receipt) => Pin::new(receipt).poll(cx).map(|stored| match stored {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Refused(error.into()),
            }),
            Wait::Login(login) => login.as_mut().poll(cx).map(|granted| match granted {
                Ok(token) => Outcome::Token(token),
                Err(error) => Outcome::Refused(error.into()),
            }),
        }
    }

    /// The same, until `limit` after it was accepted: then the answer is a timeout.
    fn poll_in_time(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.poll(cx) {
            Poll::Pending if self.began.elapsed() >= limit => {
                Poll::Ready(Outcome::Refused(Refusal::overdue()))
            }
            polled => polled,
        }
    }

    fn held(&self) -> usize {
        match &self.reference {
            Reference::Json(raw) => raw.as_ref().map_or(0, |raw| raw.len()),
            Reference::MessagePack(raw) => raw.as_ref().map_or(0, |raw| raw.len()),
        }
    }
}

/// The queue of unanswered calls.
pub(crate) struct Queue {
    /// The time limit of an answer.
    limit: Duration,
    calls: VecDeque<Unanswered>,
    held: usize,
}

impl Queue {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, calls: VecDeque::new(), held: 0 }
    }

    pub(crate) fn push(&mut self, call: Unanswered) {
        self.held += call.held();
        self.calls.push_back(call);
    }

    /// The next call with a known outcome.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Unanswered, Outcome)>> {
        let Some(first) = self.calls.front_mut() else { return Poll::Ready(None) };
        first.poll_in_time(self.limit, cx).map(|outcome| {
            let call = self.calls.pop_front()?;
            self.held -= call.held();
            if self.calls.is_empty() {
                // A burst must not leave an idle connection large.
                self.calls = VecDeque::new();
            }
            Some((call, outcome))
        })
    }

    /// The time at which the next call times out.
    pub(crate) fn overdue_at(&self) -> Option<Instant> {
        self.calls.front().map(|call| call.began + self.limit)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether the last call is a login whose password is still being checked.
    pub(crate) fn is_logging_in(&self) -> bool {
        matches!(self.calls.back(), Some(Unanswered { wait: Wait::Login(_), .. }))
    }

    /// Whether the queue has room. While a password is being checked, further calls wait.
    pub(crate) fn has_room(&self, max: usize) -> bool {
        !self.is_logging_in() && self.calls.len() < max && self.held < MAX_HELD
    }
}
