//! An engine that only passes changes of activity on, to the test.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::bus::Bus;
use crate::engine::{
    Capabilities, Drafts, Engine, Leftover, Receipt, Refused, SendError, Subscription,
    SubscriptionRequest,
};
use crate::{Activity, BuildError, DataTypes};

struct Changes(mpsc::UnboundedSender<Activity>);

/// What was published.
pub(super) struct Published(Mutex<mpsc::UnboundedReceiver<Activity>>);

impl Published {
    /// All changes there are, at least one.
    pub(super) async fn next(&self) -> Vec<Activity> {
        let mut changes = self.0.lock().await;
        let mut all = vec![changes.recv().await.unwrap()];
        while let Ok(change) = changes.try_recv() {
            all.push(change);
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.try_lock().unwrap().is_empty()
    }
}

/// A bus whose changes of activity can be read.
pub(super) fn bus() -> (Bus, Published) {
    let (sender, changes) = mpsc::unbounded_channel();
    let bus = Bus::new(Arc::new(Changes(sender)), DataTypes::default());
    (bus, Published(Mutex::new(changes)))
}

#[async_trait]
impl Engine for Changes {
    fn capabilities(&self) -> Capabilities {
        Capabilities::VOLATILE
    }

    async fn subscribe(&self, _: SubscriptionRequest) -> Result<Arc<dyn Subscription>, BuildError> {
        Err(BuildError::failed("there is nothing to subscribe to"))
    }

    async fn unsubscribe(&self, _: &str) -> Result<(), BuildError> {
        Ok(())
    }

    async fn start(&self) -> Result<(), BuildError> {
        Ok(())
    }

    fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        Err(SendError::new(Refused::Stopping, messages))
    }

    fn publish_activity(&self, change: Activity) {
        let _ = self.0.send(change);
    }

    fn is_open(&self) -> bool {
        true
    }

    fn close(&self) {}

    async fn finish(&self) -> Leftover {
        Leftover::default()
    }
}
