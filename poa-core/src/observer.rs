//! Observes messages as they are delivered.

use crate::Message;

/// Sees what is delivered, to inspect a running host. Called after the fact, outside of every lock, on the receiver's task: must
/// not block.
pub trait Observer: Send + Sync + 'static {
    /// A receiver has confirmed these messages.
    fn delivered(&self, receiver: &str, messages: &[Message]);

    /// A call of a receiver with these messages failed; they will be retried, or divided to isolate the poison message.
    fn failed(&self, receiver: &str, messages: &[Message], error: &str);

    /// A message cannot be delivered.
    fn set_aside(&self, receiver: &str, message: &Message, reason: &str);
}
