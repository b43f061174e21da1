//! Users and bans that all nodes of a cluster share, mirrored in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use poa_core::engine::{Change, Entry, Revision, SharedStore, StoreError};
use poa_core::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::audit::Arrival;
use crate::directory::{Member, Members};
use crate::store::{REMEMBERED, Stored};
use crate::token::{second_of, signed};

/// The prefix of all keys.
pub(crate) const PREFIX: &str = "auth/";
/// The key that signs tokens, if the configuration has none.
pub(crate) const SECRET: &str = "auth/secret_key";
const USERS: &str = "auth/user/";
const BANS: &str = "auth/ban/";
const GONE: &str = "auth/gone/";
/// The number of retries of a change that another node was faster with.
const TRIES: usize = 8;

/// A user in the form of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    active: bool,
    created: u64,
    tokens_since: i64,
}

impl Record {
    pub(crate) fn of(stored: &Stored) -> Self {
        let Member { active, tokens_since, agent } = &stored.member;
        Self {
            hash: stored.password_hash.clone(),
            agent: agent.as_ref().map(ToString::to_string),
            active: *active,
            created: stored.created_at.as_micros(),
            tokens_since: *tokens_since,
        }
    }

    fn stored(&self, name: &Arc<str>) -> Stored {
        Stored {
            name: name.clone(),
            password_hash: self.hash.clone(),
            created_at: Timestamp::from_micros(self.created),
            member: self.member(),
        }
    }

    fn member(&self) -> Member {
        // An unreadable id binds the user to an agent that cannot exist: no right is gained.
        let (agent, readable) = match self.agent.clone().map(AgentId::new) {
            Some(Ok(agent)) => (Some(agent), true),
            Some(Err(_)) => (None, false),
            None => (None, true),
        };
        Member { active: self.active && readable, tokens_since: self.tokens_since, agent }
    }
}

/// The state received so far.
#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<Arc<str>, (Record, Revision)>,
    /// When banned tokens expire, by fingerprint.
    bans: HashMap<Box<str>, i64>,
    /// The last second in which tokens of a deleted user may have been issued.
    gone: HashMap<Arc<str>, i64>,
}

/// The effect of a change on the holders of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Grants,
    Revokes,
}

/// The users and bans of a cluster. Cloning is cheap. Reading never waits; changing the store blocks.
#[derive(Clone)]
pub(crate) struct SharedUsers {
    store: Arc<dyn SharedStore>,
    runtime: Handle,
    known: Arc<RwLock<Known>>,
}

impl SharedUsers {
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(store: Arc<dyn SharedStore>) -> Self {
        Self { store, runtime: Handle::current(), known: Arc::default() }
    }

    /// Applies a change of the store.
    pub(crate) fn apply(&self, change: &Change) -> Effect {
        let mut known = self.known.write();
        match change {
            Change::Put(key, entry) => known.put(key, entry),
            Change::Removed(key) => known.removed(key),
            _ => Effect::Nothing,
        }
    }

    pub(crate) fn members(&self) -> Members {
        let known = self.known.read();
        Members {
            users: known
                .users
                .iter()
                .map(|(name, (user, _))| (name.clone(), user.member()))
                .collect(),
            banned: known.bans.keys().cloned().collect(),
        }
    }

    /// Copies the known value of this key, and returns what it changes.
    pub(crate) fn copy(&self, key: &str, members: &mut Members) -> Option<Arrival> {
        let known = self.known.read();
        if let Some(name) = key.strip_prefix(USERS) {
            let (name, after): (Arc<str>, _) = match known.users.get_key_value(name) {
                Some((name, (user, _))) => (name.clone(), Some(user.member())),
                None => (name.into(), None),
            };
            let before = match after.clone() {
                Some(member) => members.users.insert(name.clone(), member),
                None => members.users.remove(&name),
            };
            return Some(Arrival::User { name, before, after });
        }
        let ban = key.strip_prefix(BANS)?;
        if known.bans.contains_key(ban) {
            return members.banned.insert(ban.into()).then_some(Arrival::Ban);
        }
        members.banned.remove(ban);
        None
    }

    pub(crate) fn users(&self) -> Vec<Stored> {
        self.known.read().users.iter().map(|(name, (user, _))| user.stored(name)).collect()
    }

    pub(crate) fn user(&self, name: &str) -> Option<Stored> {
        let known = self.known.read();
        let (name, (user, _)) = known.users.get_key_value(name)?;
        Some(user.stored(name))
    }

    /// Adds a user, and returns its rights; `None` if the name is taken.
    pub(crate) fn add(
        &self,
        name: &str,
        hash: &str,
        agent: Option<AgentId>,
        now: Timestamp,
    ) -> Result<Option<Member>, StoreError> {
        let second = second_of(signed(now));
        let last = self.known.read().gone.get(name).copied();
        let tokens_since = last.map_or(second, |last| second.max(last + 1));
        let member = Member { active: true, tokens_since, agent };
        let stored = Stored {
            name: name.into(),
            password_hash: hash.to_owned(),
            created_at: now,
            member: member.clone(),
        };
        Ok(self.create(&stored)?.then_some(member))
    }

    /// Adds this user unchanged; false if the name is taken.
    pub(crate) fn create(&self, stored: &Stored) -> Result<bool, StoreError> {
        let key = format!("{USERS}{}", stored.name);
        match self.put(&key, &Record::of(stored), Revision::ABSENT) {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn set_password(
        &self,
        name: &str,
        hash: &str,
        tokens_since: i64,
    ) -> Result<bool, StoreError> {
        self.change(name, |user| {
            user.hash = hash.to_owned();
            user.tokens_since = user.tokens_since.max(tokens_since);
        })
    }

    pub(crate) fn set_tokens_since(&self, name: &str, since: i64) -> Result<bool, StoreError> {
        self.change(name, |user| user.tokens_since = user.tokens_since.max(since))
    }

    pub(crate) fn set_active(&self, name: &str, active: bool) -> Result<bool, StoreError> {
        self.change(name, |user| user.active = active)
    }

    pub(crate) fn delete(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        let key = format!("{USERS}{name}");
        for _ in 0..TRIES {
            let Some((user, revision)) = self.read::<Record>(&key)? else { return Ok(false) };
            let last = user.tokens_since.max(second_of(signed(now)));
            // First: a token that was issued before must not be valid for a new user of this name.
            self.set(&format!("{GONE}{name}"), &last)?;
            match self.runtime.block_on(self.store.remove(&key, Some(revision))) {
                Ok(()) => {
                    self.apply(&Change::Removed(key));
                    return Ok(true);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }

    pub(crate) fn ban(&self, fingerprint: &str, expires_at: i64) -> Result<(), StoreError> {
        self.set(&format!("{BANS}{fingerprint}"), &expires_at)
    }

    /// Deletes expired bans, and users deleted long ago. Returns the number of bans.
    pub(crate) fn purge(&self, now: Timestamp) -> Result<usize, StoreError> {
        let now = signed(now);
        let long_ago = second_of(now) - REMEMBERED;
        let (bans, gone) = {
            let known = self.known.read();
            let bans = known.bans.iter().filter(|(_, expires)| **expires <= now);
            let gone = known.gone.iter().filter(|(_, last)| **last < long_ago);
            let bans: Vec<_> = bans.map(|(ban, _)| format!("{BANS}{ban}")).collect();
            (bans, gone.map(|(name, _)| format!("{GONE}{name}")).collect::<Vec<_>>())
        };
        for key in bans.iter().chain(&gone) {
            self.runtime.block_on(self.store.remove(key, None))?;
            self.apply(&Change::Removed(key.clone()));
        }
        Ok(bans.len())
    }

    fn change(&self, name: &str, change: impl Fn(&mut Record)) -> Result<bool, StoreError> {
        let key = format!("{USERS}{name}");
        for _ in 0..TRIES {
            let Some((mut user, revision)) = self.read::<Record>(&key)? else { return Ok(false) };
            change(&mut user);
            match self.put(&key, &user, revision) {
                Err(StoreError::Conflict) => {}
                written => return written.map(|()| true),
            }
        }
        Err(StoreError::Conflict)
    }

    /// Writes a value, replacing any other.
    fn set(&self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let found = self.runtime.block_on(self.store.get(key))?;
            let revision = found.map_or(Revision::ABSENT, |entry| entry.revision);
            match self.put(key, value, revision) {
                Err(StoreError::Conflict) => {}
                written => return written,
            }
        }
        Err(StoreError::Conflict)
    }

    fn read<T: for<'a> Deserialize<'a>>(
        &self,
        key: &str,
    ) -> Result<Option<(T, Revision)>, StoreError> {
        let Some(entry) = self.runtime.block_on(self.store.get(key))? else { return Ok(None) };
        let value = serde_json::from_slice(&entry.value)
            .map_err(|error| StoreError::Unavailable(format!("{key} cannot be read: {error}")))?;
        Ok(Some((value, entry.revision)))
    }

    fn put(&self, key: &str, value: &impl Serialize, expected: Revision) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|error| {
            StoreError::Unavailable(format!("{key} cannot be written: {error}"))
        })?;
        let value = Bytes::from(bytes);
        let written = self.runtime.block_on(self.store.put(key, value.clone(), expected));
        let entry = Entry { value, revision: written? };
        self.apply(&Change::Put(key.to_owned(), entry));
        Ok(())
    }
}

impl Known {
    fn put(&mut self, key: &str, entry: &Entry) -> Effect {
        if let Some(name) = key.strip_prefix(USERS) {
            self.put_user(name, entry)
        } else if let (Some(ban), Ok(expires)) =
            (key.strip_prefix(BANS), serde_json::from_slice(&entry.value))
        {
            match self.bans.insert(ban.into(), expires) {
                None => Effect::Revokes,
                Some(_) => Effect::Nothing,
            }
        } else if let (Some(name), Ok(last)) =
            (key.strip_prefix(GONE), serde_json::from_slice(&entry.value))
        {
            self.gone.insert(name.into(), last);
            Effect::Nothing
        } else {
            Effect::Nothing
        }
    }

    fn put_user(&mut self, name: &str, entry: &Entry) -> Effect {
        let Ok(user) = serde_json::from_slice::<Record>(&entry.value) else {
            tracing::error!(user = name, "ignoring the record of a user that cannot be read");
            return self.removed(&format!("{USERS}{name}"));
        };
        match self.users.get_mut(name) {
            // This node's own write may be reported again, after a later one.
            Some((_, known)) if *known >= entry.revision => Effect::Nothing,
            Some(known) => {
                *known = (user, entry.revision);
                Effect::Revokes
            }
            None => {
                self.users.insert(name.into(), (user, entry.revision));
                Effect::Grants
            }
        }
    }

    fn removed(&mut self, key: &str) -> Effect {
        if let Some(name) = key.strip_prefix(USERS) {
            let removed = self.users.remove(name);
            return if removed.is_some() { Effect::Revokes } else { Effect::Nothing };
        }
        if let Some(ban) = key.strip_prefix(BANS) {
            self.bans.remove(ban);
        } else if let Some(name) = key.strip_prefix(GONE) {
            self.gone.remove(name);
        }
        Effect::Nothing
    }
}
