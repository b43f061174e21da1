//! Users in a store that all nodes of a cluster share.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use poa_core::BoxError;
use poa_core::engine::{Change, Revision, SharedStore, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::audit::{self, Arrival};
use crate::auth::{Auth, Inner};
use crate::backing::Backing;
use crate::directory::Members;
use crate::name::url_safe;
use crate::open::KEY_LENGTH;
use crate::secret_file::existing;
use crate::shared::{self, Effect, SharedUsers};
use crate::store::Store;

/// How long the store may take to send everything at the start.
const LOADING: Duration = Duration::from_secs(30);

impl Auth {
    /// Takes users, bans and, if the configuration has no `secret_key`, the key that signs tokens from a store that all nodes share, and
    /// follows their changes until the last clone of this is dropped. Other nodes see changes made here within milliseconds.
    ///
    /// Called once, after [`prepare`](Self::prepare) and before any token is checked.
    ///
    /// # Errors
    /// When the store cannot be reached, or does not send everything in time.
    pub async fn share(&self, store: Arc<dyn SharedStore>) -> Result<(), BoxError> {
        self.0.set_key(&self.0.shared_key(&*store).await?);
        let mut changes = store.watch(shared::PREFIX).await?;
        let users = SharedUsers::new(store);
        let load = async {
            loop {
                match changes.recv().await {
                    Some(Change::Synced) => return Ok(()),
                    Some(change) => drop(users.apply(&change)),
                    None => return Err(StoreError::Unavailable("it has ended".to_owned())),
                }
            }
        };
        let loaded = tokio::time::timeout(LOADING, load).await;
        loaded.map_err(|_| StoreError::Unavailable(format!("no users within {LOADING:?}")))??;
        self.0.directory.revoke(|mirror| *mirror = users.members());
        *self.0.store.lock() = Backing::Shared(users.clone());
        let follow = Follow { inner: Arc::downgrade(&self.0), users, lost: None };
        tokio::spawn(follow.run(changes));
        Ok(())
    }

    /// Copies the users, bans and the generated key of the database in a data directory into a store that all nodes share. Existing
    /// entries are not changed, so this can be repeated. Returns how many users were added, and how many existed.
    ///
    /// # Errors
    /// When the database cannot be read, or the store cannot be written.
    pub async fn migrate(
        data_dir: impl AsRef<Path>,
        store: Arc<dyn SharedStore>,
    ) -> Result<(usize, usize), BoxError> {
        let data_dir = data_dir.as_ref().to_owned();
        if let Some(key) = existing(&data_dir.join(crate::open::KEY_FILE))? {
            create_key(&*store, key).await?;
        }
        let path = data_dir.join(crate::open::DATABASE_FILE);
        if !path.exists() {
            return Ok((0, 0));
        }
        let users = SharedUsers::new(store);
        tokio::task::spawn_blocking(move || copy(&path, &users)).await?
    }
}

fn copy(database: &Path, users: &SharedUsers) -> Result<(usize, usize), BoxError> {
    let database = Store::open(database)?;
    let (mut added, mut there) = (0, 0);
    for stored in database.users()? {
        match users.create(&stored)? {
            true => added += 1,
            false => there += 1,
        }
    }
    for (fingerprint, expires_at) in database.bans()? {
        users.ban(&fingerprint, expires_at)?;
    }
    Ok((added, there))
}

/// Writes the key if there is none. Returns the key in the store.
async fn create_key(store: &dyn SharedStore, key: String) -> Result<String, BoxError> {
    match store.put(shared::SECRET, Bytes::from(key.clone()), Revision::ABSENT).await {
        Ok(_) => Ok(key),
        Err(StoreError::Conflict) => match store.get(shared::SECRET).await? {
            Some(found) => Ok(String::from_utf8(found.value.to_vec())?),
            None => Err("the key that signs tokens was removed meanwhile; start again".into()),
        },
        Err(error) => Err(error.into()),
    }
}

impl Inner {
    /// The configured key, or the one that the nodes share.
    async fn shared_key(&self, store: &dyn SharedStore) -> Result<String, BoxError> {
        if let Some(key) = self.configured_key() {
            return Ok(key);
        }
        match store.get(shared::SECRET).await? {
            Some(found) => Ok(String::from_utf8(found.value.to_vec())?),
            None => create_key(store, url_safe(KEY_LENGTH)).await,
        }
    }
}

/// Keeps the users of one process in step with the store.
struct Follow {
    inner: Weak<Inner>,
    users: SharedUsers,
    /// The time since which there is no contact.
    lost: Option<Instant>,
}

impl Follow {
    async fn run(mut self, mut changes: mpsc::Receiver<Change>) {
        loop {
            let Some(limit) = self.inner.upgrade().map(|inner| inner.contact_limit) else { return };
            let closing = self.lost.map(|lost| lost + limit);
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.take(&change),
                    None => return self.end(),
                },
                () = until(closing) => self.close(limit),
                // Ends with the last clone.
                () = tokio::time::sleep(CHECK) => {}
            }
        }
    }

    fn take(&mut self, change: &Change) {
        let Some(inner) = self.inner.upgrade() else { return };
        match change {
            Change::Lost => {
                self.lost.get_or_insert_with(Instant::now);
            }
            Change::Synced => {
                self.lost = None;
                if inner.contact.open() {
                    tracing::info!(
                        "accepting tokens again: contact to the shared store is restored"
                    );
                }
            }
            Change::Put(key, _) | Change::Removed(key) => {
                let effect = self.users.apply(change);
                audit::arrived(self.mirror(&inner, key, effect));
            }
            _ => {}
        }
    }

    /// Copies the known value of this key to where tokens are checked.
    fn mirror(&self, inner: &Inner, key: &str, effect: Effect) -> Option<Arrival> {
        let mut arrival = None;
        let copy = |mirror: &mut Members| arrival = self.users.copy(key, mirror);
        match effect {
            Effect::Nothing => {}
            Effect::Grants => inner.directory.grant(copy),
            Effect::Revokes => inner.directory.revoke(copy),
        }
        arrival
    }

    /// A ban from another node may not have arrived: nothing is accepted any more.
    fn close(&mut self, limit: Duration) {
        self.lost = None;
        let Some(inner) = self.inner.upgrade() else { return };
        inner.contact.close();
        tracing::error!(
            "refusing all tokens: changes of users have not been seen for {limit:?}, because the shared store cannot be reached"
        );
        // Handlers verify the tokens of open connections again.
        inner.directory.revoke(|_| {});
    }

    fn end(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// The interval at which the task checks whether the users are still needed.
const CHECK: Duration = Duration::from_secs(1);

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
