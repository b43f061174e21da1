//! An engine that only passes changes of activity to the test, and a store that watchers share.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};

use crate::bus::Bus;
use crate::engine::{
    Capabilities, Change, Drafts, Engine, Entry, Leftover, Receipt, Refused, Revision, SendError,
    SharedStore, StoreError, Subscription, SubscriptionRequest,
};
use crate::{Activity, BuildError, DataTypes};

struct Changes(mpsc::UnboundedSender<Activity>);

/// The published changes.
pub(super) struct Published(Mutex<mpsc::UnboundedReceiver<Activity>>);

impl Published {
    /// All published changes; waits for the first.
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

/// A store that several watchers share.
#[derive(Default)]
pub(super) struct Store(parking_lot::Mutex<Content>);

#[derive(Default)]
struct Content {
    keys: std::collections::BTreeMap<String, Entry>,
    last: u64,
    watching: Vec<mpsc::Sender<Change>>,
    listening: Vec<mpsc::Sender<Bytes>>,
}

impl Store {
    /// Whether the store has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.lock().keys.contains_key(key)
    }
}

#[async_trait]
impl SharedStore for Store {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.0.lock().keys.get(key).cloned())
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError> {
        let mut content = self.0.lock();
        let found = content.keys.get(key).map_or(Revision::ABSENT, |entry| entry.revision);
        if found != expected {
            return Err(StoreError::Conflict);
        }
        content.last += 1;
        let entry = Entry { value, revision: Revision(content.last) };
        content.keys.insert(key.to_owned(), entry.clone());
        let told = Change::Put(key.to_owned(), entry.clone());
        content.watching.iter().for_each(|watch| drop(watch.try_send(told.clone())));
        Ok(entry.revision)
    }

    async fn remove(&self, key: &str, expected: Option<Revision>) -> Result<(), StoreError> {
        let mut content = self.0.lock();
        let found = content.keys.get(key).map_or(Revision::ABSENT, |entry| entry.revision);
        if expected.is_some_and(|expected| expected != found) {
            return Err(StoreError::Conflict);
        }
        content.keys.remove(key);
        let told = Change::Removed(key.to_owned());
        content.watching.iter().for_each(|watch| drop(watch.try_send(told.clone())));
        Ok(())
    }

    fn tell(&self, _: &str, text: Bytes) {
        let content = self.0.lock();
        content.listening.iter().for_each(|listener| drop(listener.try_send(text.clone())));
    }

    async fn listen(&self, _: &str) -> Result<mpsc::Receiver<Bytes>, StoreError> {
        let (sender, receiver) = mpsc::channel(1000);
        self.0.lock().listening.push(sender);
        Ok(receiver)
    }

    async fn watch(&self, prefix: &str) -> Result<mpsc::Receiver<Change>, StoreError> {
        let (sender, receiver) = mpsc::channel(1000);
        let mut content = self.0.lock();
        for (key, entry) in content.keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
            sender.try_send(Change::Put(key.clone(), entry.clone())).unwrap();
        }
        sender.try_send(Change::Synced).unwrap();
        content.watching.push(sender);
        Ok(receiver)
    }
}
