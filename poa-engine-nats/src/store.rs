//! Keys and values that all nodes share.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use poa_core::engine::{Change, Entry, Revision, SharedStore, StoreError};
use tokio::sync::mpsc;

use crate::bucket::{self, Bucket};
use crate::contact::Contact;
use crate::failure::Failure;
use crate::names::{Names, token, untoken};
use crate::reader::{Arrival, Reader, Reading};

/// The most changes that wait for one who watches.
const CHANGES: usize = 256;

/// How long a signal may wait for room in the client.
const TELLING: std::time::Duration = std::time::Duration::from_secs(1);

/// A bucket as the host sees it.
pub(crate) struct Shared {
    contact: Contact,
    bucket: Bucket,
    names: Names,
}

impl Shared {
    pub(crate) fn new(contact: Contact, names: &Names) -> Arc<Self> {
        let bucket = Bucket::new(contact.clone(), names.shared());
        Arc::new(Self { contact, bucket, names: names.clone() })
    }

    fn signals(&self, topic: &str) -> String {
        self.names.signals(topic)
    }
}

fn error(failure: Failure) -> StoreError {
    match failure {
        Failure::WrongSequence => StoreError::Conflict,
        other => StoreError::Unavailable(other.to_string()),
    }
}

#[async_trait]
impl SharedStore for Shared {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let slot = self.bucket.read(&token(key)).await.map_err(error)?;
        let revision = Revision(slot.revision);
        Ok(slot.value.map(|value| Entry { value, revision }))
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError> {
        let key = token(key);
        let written = self.bucket.write(&key, value.clone(), expected.0, None).await;
        if expected != Revision::ABSENT || written != Err(Failure::WrongSequence) {
            return written.map(Revision).map_err(error);
        }
        // A key that was removed does not exist either, but its last write is known.
        let slot = self.bucket.read(&key).await.map_err(error)?;
        match slot.value {
            Some(_) => Err(StoreError::Conflict),
            None => {
                let written = self.bucket.write(&key, value, slot.revision, None).await;
                written.map(Revision).map_err(error)
            }
        }
    }

    async fn remove(&self, key: &str, expected: Option<Revision>) -> Result<(), StoreError> {
        let expected = expected.map(|revision| revision.0);
        self.bucket.remove(&token(key), expected).await.map_err(error)
    }

    fn tell(&self, topic: &str, text: Bytes) {
        let (client, subject) = (self.contact.client().clone(), self.signals(topic));
        // Publishing waits only for room in the client's own queue.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(TELLING, client.publish(subject, text)).await;
        });
    }

    async fn listen(&self, topic: &str) -> Result<mpsc::Receiver<Bytes>, StoreError> {
        let subscriber = self.contact.client().subscribe(self.signals(topic)).await;
        let mut subscriber = subscriber.map_err(|why| StoreError::Unavailable(why.to_string()))?;
        let (sender, receiver) = mpsc::channel(CHANGES);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    () = sender.closed() => break,
                    message = subscriber.next() => message,
                };
                let Some(message) = message else { break };
                // Without room the signal is lost, as promised.
                let _ = sender.try_send(message.payload);
            }
        });
        Ok(receiver)
    }

    async fn watch(&self, prefix: &str) -> Result<mpsc::Receiver<Change>, StoreError> {
        // Shows at once when the bucket cannot be reached.
        self.bucket.read("-").await.map_err(error)?;
        let (sender, receiver) = mpsc::channel(CHANGES);
        let filters = vec![self.bucket.subject(">")];
        let reading = Reading { stream: self.bucket.stream(), filters, start: 1 };
        let reader = Reader::new(self.contact.clone(), reading);
        let watch =
            Watch { bucket: self.bucket.clone(), prefix: prefix.to_owned(), sender, synced: false };
        tokio::spawn(watch.run(reader));
        Ok(receiver)
    }
}

struct Watch {
    bucket: Bucket,
    prefix: String,
    sender: mpsc::Sender<Change>,
    synced: bool,
}

impl Watch {
    async fn run(mut self, mut reader: Reader) {
        loop {
            let arrival = tokio::select! {
                () = self.sender.closed() => break,
                arrival = reader.next() => arrival,
            };
            for change in self.changes(arrival) {
                if self.sender.send(change).await.is_err() {
                    break;
                }
            }
        }
        reader.close().await;
    }

    fn changes(&mut self, arrival: Arrival) -> Vec<Change> {
        let mut changes = Vec::new();
        match arrival {
            Arrival::Message(found) => {
                let key = self.bucket.key(&found.message.subject).and_then(untoken);
                if let Some(key) = key.filter(|key| key.starts_with(&self.prefix)) {
                    let revision = Revision(found.sequence);
                    let value = bucket::value(found.message.headers.as_ref(), found.payload());
                    changes.push(match value {
                        Some(value) => Change::Put(key, Entry { value, revision }),
                        None => Change::Removed(key),
                    });
                }
                if found.pending == 0 {
                    self.sync(&mut changes);
                }
            }
            Arrival::CaughtUp(_) => self.sync(&mut changes),
            Arrival::Interrupted(_) if std::mem::replace(&mut self.synced, false) => {
                changes.push(Change::Lost);
            }
            Arrival::Interrupted(_) => {}
        }
        changes
    }

    fn sync(&mut self, changes: &mut Vec<Change>) {
        if !std::mem::replace(&mut self.synced, true) {
            changes.push(Change::Synced);
        }
    }
}
