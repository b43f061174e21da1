//! Messages that cannot be delivered.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{BoxError, Message, Timestamp};

/// A message that cannot be delivered to one receiver.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The receiver that it was for.
    pub receiver: Arc<str>,
    /// The message, unchanged.
    pub message: Message,
    /// The reason why it cannot be delivered.
    pub reason: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The time of the first attempt.
    pub first_attempt: Timestamp,
    /// The time at which it was dead-lettered.
    pub set_aside: Timestamp,
}

impl DeadLetter {
    /// A letter after one attempt, dead-lettered now.
    #[must_use]
    pub fn new(receiver: impl Into<Arc<str>>, message: Message, reason: impl Into<String>) -> Self {
        let (receiver, reason, now) = (receiver.into(), reason.into(), Timestamp::now());
        Self { receiver, message, reason, attempts: 1, first_attempt: now, set_aside: now }
    }
}

/// Stores dead letters.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// Stores these letters. When this returns, they are durable; only then does delivery to the
    /// receiver continue.
    ///
    /// The same letter may be given again, after a crash or after a failed replay.
    ///
    /// # Errors
    /// When they cannot be stored now. The host retries without limit.
    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError>;
}
