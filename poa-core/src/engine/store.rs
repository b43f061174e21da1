//! A small store shared by the nodes of an engine that spans machines.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Keys and values that all nodes of an engine see: users, bans, active agents. Values are small, some KiB at most.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Changes with every write.
    pub revision: Revision,
}

/// Identifies the write that a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a key that does not exist.
    pub const ABSENT: Self = Self(0);
}

/// An event of a watch.
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
