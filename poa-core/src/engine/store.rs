//! A small store shared by the nodes of an engine that spans machines.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Keys and values that all nodes of an engine see: users, bans, active agents. Values are small, some KiB at most.
///
/// ```
/// use poa_core::engine::{Revision, SharedStore, StoreError};
/// # use poa_core::engine::{Change, Entry};
/// # use {bytes::Bytes, poa_core::async_trait, std::{collections::HashMap, sync::Mutex}, tokio::sync::mpsc};
/// # #[derive(Default)]
/// # struct Map(Mutex<HashMap<String, Entry>>);
/// # #[async_trait]
/// # impl SharedStore for Map {
/// #     async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
/// #         Ok(self.0.lock().unwrap().get(key).cloned())
/// #     }
/// #     async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<Revision, StoreError> {
/// #         let mut map = self.0.lock().unwrap();
/// #         let found = map.get(key).map_or(Revision::ABSENT, |entry| entry.revision);
/// #         if found != expected { return Err(StoreError::Conflict); }
/// #         let revision = Revision(found.0 + 1);
/// #         map.insert(key.to_owned(), Entry { value, revision });
/// #         Ok(revision)
/// #     }
/// #     async fn remove(&self, key: &str, _: Option<Revision>) -> Result<(), StoreError> {
/// #         self.0.lock().unwrap().remove(key);
/// #         Ok(())
/// #     }
/// #     fn tell(&self, _: &str, _: Bytes) {}
/// #     async fn listen(&self, _: &str) -> Result<mpsc::Receiver<Bytes>, StoreError> { Ok(mpsc::channel(1).1) }
/// #     async fn watch(&self, _: &str) -> Result<mpsc::Receiver<Change>, StoreError> { Ok(mpsc::channel(1).1) }
/// # }
///
/// /// Draws the next number of a sequence; no two nodes draw the same.
/// async fn next(store: &dyn SharedStore, key: &str) -> Result<u64, StoreError> {
///     loop {
///         let entry = store.get(key).await?;
///         let last = entry.as_ref().and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse().ok());
///         let next = last.unwrap_or(0_u64) + 1;
///         let expected = entry.map_or(Revision::ABSENT, |entry| entry.revision);
///         match store.put(key, next.to_string().into(), expected).await {
///             Err(StoreError::Conflict) => continue, // another node was faster
///             written => return written.map(|_| next),
///         }
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), StoreError> {
/// # let store = Map::default();
///
/// assert_eq!(next(&store, "batches").await?, 1);
/// assert_eq!(next(&store, "batches").await?, 2);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SharedStore: Send + Sync + 'static {
    /// The latest value of a key, as known to the majority. Cancel safe.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Writes a value if the key still has this revision; [`Revision::ABSENT`] if it must not exist.
    ///
    /// Not cancel safe: a call that is dropped may or may not have written.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key has another revision.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError>;

    /// Removes a key; if a revision is given, only if the key still has it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key has another revision.
    async fn remove(&self, key: &str, expected: Option<Revision>) -> Result<(), StoreError>;

    /// Publishes to all nodes that listen to this topic, including this one. Never waits, and guarantees nothing: signals sent while the
    /// connection is lost are lost.
    fn tell(&self, topic: &str, text: Bytes);

    /// All signals that nodes publish to a topic from now on. Signals that arrive faster than they are read are lost. The channel ends
    /// when the store does.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn listen(&self, topic: &str) -> Result<mpsc::Receiver<Bytes>, StoreError>;

    /// Every key with this prefix as it is now, then every change. The channel ends when the store does; [`Change::Synced`] is sent once
    /// after the present state, and again each time the connection is restored.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn watch(&self, prefix: &str) -> Result<mpsc::Receiver<Change>, StoreError>;
}

/// A value and its revision.
///
/// See [`SharedStore`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Changes with every write.
    pub revision: Revision,
}

/// Identifies the write that a value comes from.
///
/// See [`SharedStore`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a key that does not exist.
    pub const ABSENT: Self = Self(0);
}

/// An event of a watch.
///
/// ```
/// use std::collections::BTreeMap;
/// use poa_core::engine::{Change, Entry, Revision};
///
/// /// Keeps a copy of a part of the store, from the events of [`SharedStore::watch`](super::SharedStore::watch).
/// fn apply(copy: &mut BTreeMap<String, Entry>, change: Change) {
///     match change {
///         Change::Put(key, entry) => drop(copy.insert(key, entry)),
///         Change::Removed(key) => drop(copy.remove(&key)),
///         // Until the next `Synced` the copy may be out of date.
///         _ => {}
///     }
/// }
///
/// let mut users = BTreeMap::new();
/// let entry = Entry { value: "active".into(), revision: Revision(7) };
/// apply(&mut users, Change::Put("users.ada".into(), entry));
/// apply(&mut users, Change::Lost);
/// assert!(users.contains_key("users.ada"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key has this value.
    Put(String, Entry),
    /// A key was removed.
    Removed(String),
    /// The current state has been sent completely.
    Synced,
    /// The connection is lost: what was sent before may be out of date.
    Lost,
}

/// The reason why an operation of the store failed.
///
/// See [`SharedStore`] for an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The revision of the key is not the expected one.
    #[error("the value was changed by another writer")]
    Conflict,
    /// The store cannot be reached.
    #[error("the shared store cannot be reached: {0}")]
    Unavailable(String),
}
