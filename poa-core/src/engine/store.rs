//! A small store shared by the nodes of an engine that spans machines.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Keys and values that all nodes of an engine see: users, bans, agents that are active. Values are small, some KiB at most.
#[async_trait]
pub trait SharedStore: Send + Sync + 'static {
    /// The latest value of a key, as the majority has it. Cancel safe.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Writes a value if the key has this revision still; [`Revision::ABSENT`] if it must not exist.
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

    /// Removes a key, if it still has this revision where one is given.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key has another revision.
    async fn remove(&self, key: &str, expected: Option<Revision>) -> Result<(), StoreError>;

    /// Tells all nodes that listen to this topic, this one included. Never waits, and promises nothing: what is said while contact is lost
    /// is lost.
    fn tell(&self, topic: &str, text: Bytes);

    /// Everything that nodes tell about a topic from now on. What comes faster than it is read is lost. The channel ends when the store
    /// does.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn listen(&self, topic: &str) -> Result<mpsc::Receiver<Bytes>, StoreError>;

    /// Every key with this prefix as it is now, then every change. The channel ends when the store does; [`Change::Synced`] comes once
    /// after the present state, and again after each time contact was lost and regained.
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

/// Which write a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a key that does not exist.
    pub const ABSENT: Self = Self(0);
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key has this value.
    Put(String, Entry),
    /// A key was removed.
    Removed(String),
    /// Everything that was known has been told.
    Synced,
    /// Contact is lost: what was told may be out of date.
    Lost,
}

/// Why the store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key has another revision than expected.
    #[error("the value was changed meanwhile")]
    Conflict,
    /// The store cannot be reached.
    #[error("the shared store cannot be reached: {0}")]
    Unavailable(String),
}
