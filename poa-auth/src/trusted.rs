//! Passwords that were verified since the start: a user who has logged in before does not wait behind guessers.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::mac::{Mac, Tag};

/// The most names that are remembered.
const REMEMBERED: usize = 8192;

/// The values compared at the last successful login.
pub(crate) struct Right {
    tag: Tag,
    /// The hash in the database, or of the configuration, at that time. A password that was changed since does not match.
    pub(crate) hash: String,
}

/// By name, the fingerprint of the last correct password. In memory only: at rest, it would be a fast hash that invites
/// guessing.
pub(crate) struct Trusted {
    right: Cache<String, Arc<Right>>,
    mac: Mac,
}

impl Trusted {
    pub(crate) fn new() -> Self {
        Self { right: Cache::new(REMEMBERED), mac: Mac::new() }
    }

    /// The entry of this name, if this is the correct password.
    pub(crate) fn find(&self, key: &str, password: &str) -> Option<Arc<Right>> {
        self.right.get(key).filter(|right| self.mac.matches(&right.tag, password))
    }

    pub(crate) fn remember(&self, key: &str, password: &str, hash: &str) {
        let known = self.find(key, password).is_some_and(|right| right.hash == hash);
        if !known {
            let right = Right { tag: self.mac.tag(password), hash: hash.to_owned() };
            self.right.insert(key.to_owned(), Arc::new(right));
        }
    }
}
