//! Requests that wait for their replies.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Those of one process, by the id of the message.
#[derive(Debug)]
pub(crate) struct Pending<T>(Mutex<HashMap<Arc<str>, oneshot::Sender<T>>>);

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Pending<T> {
    /// Begins to wait for the reply to this message. Dropping the result ends that.
    pub(crate) fn wait(&self, sender: Arc<str>) -> Waiting<'_, T> {
        let (replied, reply) = oneshot::channel();
        self.0.lock().insert(sender.clone(), replied);
        Waiting { pending: self, sender, reply }
    }

    /// Passes a reply on; false when nothing waits for it any more.
    pub(crate) fn settle(&self, sender: &str, reply: T) -> bool {
        let waiting = self.0.lock().remove(sender);
        waiting.is_some_and(|waiting| waiting.send(reply).is_ok())
    }

    /// Ends all waits with this.
    pub(crate) fn settle_all(&self, reply: impl Fn() -> T) {
        let pending = std::mem::take(&mut *self.0.lock());
        for (_, waiting) in pending {
            // The request may have been dropped.
            let _ = waiting.send(reply());
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// A request that waits for its reply; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Waiting<'a, T> {
    pending: &'a Pending<T>,
    pub(crate) sender: Arc<str>,
    reply: oneshot::Receiver<T>,
}

impl<T> Waiting<'_, T> {
    /// The reply; nothing when the engine has ended.
    pub(crate) async fn reply(mut self) -> Option<T> {
        (&mut self.reply).await.ok()
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.pending.0.lock().remove(&self.sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_reaches_its_request_alone() {
        let pending = Pending::default();
        let (one, two) = (pending.wait("1".into()), pending.wait("2".into()));
        assert!(pending.settle("2", "two") && !pending.settle("2", "again"));
        assert_eq!(two.reply().await, Some("two"));
        pending.settle_all(|| "lost");
        assert_eq!(one.reply().await, Some("lost"));
        assert_eq!(pending.len(), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_leaves_nothing() {
        let pending = Pending::<()>::default();
        drop(pending.wait("1".into()));
        assert!(pending.len() == 0 && !pending.settle("1", ()));
    }
}
