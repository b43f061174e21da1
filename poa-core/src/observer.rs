//! Observes messages as they are delivered.

use crate::Message;

/// Sees what is delivered, to inspect a running host. Called after the fact, outside of every lock, on the receiver's task: must
/// not block.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
/// use poa_core::{Host, Message, Observer};
///
/// /// Counts deliveries, for the page of a service that embeds a host.
/// #[derive(Default)]
/// struct Deliveries(AtomicUsize);
///
/// impl Observer for Deliveries {
///     fn delivered(&self, _: &str, messages: &[Message]) {
///         self.0.fetch_add(messages.len(), Relaxed);
///     }
///     fn failed(&self, receiver: &str, _: &[Message], error: &str) {
///         eprintln!("{receiver}: {error}");
///     }
///     fn set_aside(&self, receiver: &str, message: &Message, reason: &str) {
///         eprintln!("{receiver}: {} is a dead letter: {reason}", message.id());
///     }
/// }
///
/// let deliveries = Arc::new(Deliveries::default());
/// let builder = Host::builder().observer(deliveries.clone());
/// # drop(builder);
/// # deliveries.delivered("store", &[]);
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A receiver has confirmed these messages.
    fn delivered(&self, receiver: &str, messages: &[Message]);

    /// A call of a receiver with these messages failed; they will be retried, or divided to isolate the poison message.
    fn failed(&self, receiver: &str, messages: &[Message], error: &str);

    /// A message cannot be delivered.
    fn set_aside(&self, receiver: &str, message: &Message, reason: &str);
}
