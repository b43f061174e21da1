//! Messages that cannot be delivered.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{BoxError, Message, Timestamp};

/// A message that cannot be delivered to one receiver.
///
/// See [`DeadLetters`] for an example.
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
///
/// ```
/// use std::sync::Mutex;
/// use poa_core::{BoxError, DeadLetter, DeadLetters, async_trait};
/// # use poa_core::{AgentId, DataTypes, Draft, Message, Payload, Timestamp, engine::IdGenerator};
///
/// /// Keeps them in memory, for a test; `poa-dead-letters` keeps them on the disk.
/// #[derive(Default)]
/// struct Kept(Mutex<Vec<DeadLetter>>);
///
/// #[async_trait]
/// impl DeadLetters for Kept {
///     async fn keep(&self, letters: Vec<DeadLetter>) -> Result<(), BoxError> {
///         let mut kept = self.0.lock().unwrap();
///         // The same letter may come again.
///         let known = |new: &DeadLetter| kept.iter().any(|old| old.message.id() == new.message.id());
///         let new: Vec<_> = letters.into_iter().filter(|letter| !known(letter)).collect();
///         kept.extend(new);
///         Ok(())
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let types = DataTypes::new(["readings"])?;
/// # let readings = types.get("readings").expect("declared above").clone();
/// # let draft = Draft::new(AgentId::new("pump-7")?, readings, Payload::json(&serde_json::json!({}))?);
/// # let now = Timestamp::now();
/// # let message = Message::stamp(draft, IdGenerator::new().next(now), now);
///
/// let kept = Kept::default();
/// let letter = DeadLetter::new("store", message, "value out of range");
/// kept.keep(vec![letter.clone()]).await?;
/// kept.keep(vec![letter]).await?;
/// assert_eq!(kept.0.lock().unwrap().len(), 1);
/// # Ok(())
/// # }
/// ```
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
