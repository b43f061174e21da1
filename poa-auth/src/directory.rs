//! The users and banned tokens in memory, so that no request waits for the database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use poa_core::AgentId;
use poa_core::auth::Principal;
use tokio::sync::watch;

use crate::token::{Facts, second_of};

/// The rights of a token's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) active: bool,
    /// The first second whose tokens are valid.
    pub(crate) tokens_since: i64,
    pub(crate) agent: Option<AgentId>,
}

/// The content of the database, without passwords.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) users: HashMap<Arc<str>, Member>,
    /// Fingerprints of banned tokens.
    pub(crate) banned: HashSet<Box<str>>,
}

/// Mirrors the database. Every change that revokes rights increments the epoch before it returns.
#[derive(Debug)]
pub(crate) struct Directory {
    members: RwLock<Members>,
    epoch: AtomicU64,
    moved: watch::Sender<u64>,
}

impl Directory {
    pub(crate) fn new(members: Members) -> Self {
        Self {
            members: RwLock::new(members),
            epoch: AtomicU64::new(0),
            moved: watch::Sender::new(0),
        }
    }

    /// A result of [`admit`](Self::admit) at this epoch holds as long as the epoch stays.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn revocations(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The principal of a genuine token, and the epoch in which it was looked up.
    pub(crate) fn admit(&self, facts: &Facts) -> Option<(Principal, u64)> {
        let members = self.members.read();
        let (name, user) = members.users.get_key_value(&*facts.user)?;
        let admitted = user.active
            && second_of(facts.issued_at) >= user.tokens_since
            && !members.banned.contains(&facts.fingerprint);
        // Under the lock, so that no change can fall between the result and its epoch.
        admitted.then(|| (Principal::new(name.clone(), user.agent.clone()), self.epoch()))
    }

    /// Whether a token of this user, second and fingerprint is admitted, whatever its age.
    pub(crate) fn has(&self, user: &str, issued: i64, fingerprint: &str) -> bool {
        let members = self.members.read();
        let member = members.users.get(user);
        member.is_some_and(|member| member.active && issued >= member.tokens_since)
            && !members.banned.contains(fingerprint)
    }

    /// Takes over what was changed elsewhere.
    pub(crate) fn replace(&self, members: Members) {
        crate::audit::elsewhere(&self.members.read(), &members);
        self.revoke(|mirror| *mirror = members);
    }

    /// Makes a change that revokes no right.
    pub(crate) fn grant(&self, change: impl FnOnce(&mut Members)) {
        change(&mut self.members.write());
    }

    /// Makes a change that may revoke rights.
    pub(crate) fn revoke(&self, change: impl FnOnce(&mut Members)) {
        let epoch = {
            let mut members = self.members.write();
            change(&mut members);
            self.epoch.fetch_add(1, Ordering::AcqRel) + 1
        };
        self.moved.send_if_modified(|last| {
            let newer = *last < epoch;
            *last = epoch.max(*last);
            newer
        });
    }
}
