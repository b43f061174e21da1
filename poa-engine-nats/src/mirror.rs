//! A copy of the bucket of receivers: registrations, cursors and leases of all nodes.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::bucket::{self, Bucket, Slot};
use crate::contact::Contact;
use crate::reader::{Arrival, Reader, Reading};

/// A copy of a bucket in memory, which follows it.
pub(crate) struct Mirror {
    bucket: Bucket,
    keys: RwLock<BTreeMap<String, Slot>>,
    synced: watch::Sender<bool>,
    changed: watch::Sender<u64>,
}

/// A key that has changed.
pub(crate) struct Changed<'a> {
    pub(crate) key: &'a str,
    pub(crate) slot: &'a Slot,
}

impl Mirror {
    pub(crate) fn new(bucket: Bucket) -> Self {
        let (synced, changed) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { bucket, keys: RwLock::default(), synced, changed }
    }

    /// Follows the bucket, and calls `told` with each change. Never ends.
    pub(crate) async fn follow(&self, contact: Contact, told: impl Fn(Changed<'_>)) {
        let filters = vec![self.bucket.subject(">")];
        let reading = Reading { stream: self.bucket.stream(), filters, start: 1 };
        let mut reader = Reader::new(contact, reading);
        loop {
            match reader.next().await {
                Arrival::Message(found) => {
                    let value = bucket::value(found.message.headers.as_ref(), found.payload());
                    let slot = Slot { revision: found.sequence, value };
                    if let Some(key) = self.bucket.key(&found.message.subject) {
                        self.put(key, slot.clone());
                        told(Changed { key, slot: &slot });
                    }
                    if found.pending == 0 {
                        self.synced.send_replace(true);
                    }
                }
                Arrival::CaughtUp(_) => {
                    self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
                }
                Arrival::Interrupted(failure) => {
                    tracing::debug!("following the receivers was interrupted: {failure}");
                }
            }
        }
    }

    /// Waits until the whole bucket was read.
    pub(crate) async fn synced(&self) {
        // Fails only when the sender is gone, which lives as long as this.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes in a write, unless a later one is known.
    pub(crate) fn put(&self, key: &str, slot: Slot) {
        let mut keys = self.keys.write();
        let known = keys.entry(key.to_owned()).or_default();
        if known.revision <= slot.revision {
            *known = slot;
        }
        drop(keys);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn get(&self, key: &str) -> Option<Bytes> {
        self.keys.read().get(key)?.value.clone()
    }

    /// The keys that begin with this, and their values.
    pub(crate) fn below(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let keys = self.keys.read();
        let range = keys.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let range = range.take_while(|(key, _)| key.starts_with(prefix));
        range.filter_map(|(key, slot)| Some((key.clone(), slot.value.clone()?))).collect()
    }
}
