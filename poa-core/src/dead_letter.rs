//! Messages that can never be delivered.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{BoxError, Message, Timestamp};

/// A message that one receiver can never be given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The receiver that it was for.
    pub receiver: Arc<str>,
    /// The message, as it was.
    pub message: Message,
    /// Why it cannot be delivered.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried first.
    pub first_attempt: Timestamp,
    /// When it was set aside.
    pub set_aside: Timestamp,
}

impl DeadLetter {
    /// A letter that was tried once, and set aside now.
    #[must_use]
    pub fn new(receiver: impl Into<Arc<str>>, message: Message, reason: impl Into<String>) -> Self {
        let (receiver, reason, now) = (receiver.into(), reason.into(), Timestamp::now());
        Self { receiver, message, reason, attempts: 1, first_attempt: now, set_aside: now }
    }
}

/// Keeps dead letters.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// Keeps these letters. When this returns, they are safe; the receiver goes on only then.
    ///
    /// The same letter may come again, after a crash or after it was replayed in vain.
    ///
    /// # Errors
    /// When they cannot be kept now. The host tries again, for as long as it takes.
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError>;
}
