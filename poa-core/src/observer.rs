//! Watching messages as they pass.

use crate::Message;

/// Sees what is delivered, for those who look into a running host. Called after the fact, outside of every lock, on the receiver's
/// task: must not block.
pub trait Observer: Send + Sync + 'static {
    /// A receiver has confirmed these messages.
    fn delivered(&self, receiver: &str, messages: &[Message]);

    /// A call of a receiver with these messages failed, and will be repeated or taken apart.
    fn failed(&self, receiver: &str, messages: &[Message], error: &str);

    /// A message can never be delivered.
    fn set_aside(&self, receiver: &str, message: &Message, reason: &str);
}
