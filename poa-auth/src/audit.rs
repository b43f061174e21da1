//! Log lines about changes of users, for those who have to tell later who did it. They are never summarised.

use std::net::IpAddr;
use std::sync::Arc;

use crate::directory::{Member, Members};

/// The target of these lines.
macro_rules! target {
    () => {
        "poa_audit"
    };
}

/// A change that an admin made over HTTP.
pub(crate) fn by_admin(admin: &str, from: IpAddr, change: &str, user: &str) {
    tracing::info!(target: target!(), by = admin, %from, user, "{change}");
}

/// Everything that another process, such as the command line, changed in the database of this host.
pub(crate) fn elsewhere(before: &Members, after: &Members) {
    let by = "another process";
    for (name, member) in &after.users {
        changed(by, name, before.users.get(name), Some(member));
    }
    for (name, member) in before.users.iter().filter(|(name, _)| !after.users.contains_key(*name)) {
        changed(by, name, Some(member), None);
    }
    revoked(by, after.banned.difference(&before.banned).count());
}

/// A change that came from a store which several hosts share.
pub(crate) fn arrived(change: Option<Arrival>) {
    let by = "the shared store";
    match change {
        Some(Arrival::User { name, before, after }) => {
            changed(by, &name, before.as_ref(), after.as_ref());
        }
        Some(Arrival::Ban) => revoked(by, 1),
        None => {}
    }
}

/// A change in a store that several hosts share.
#[derive(Debug)]
pub(crate) enum Arrival {
    User {
        name: Arc<str>,
        before: Option<Member>,
        after: Option<Member>,
    },
    /// One token was revoked.
    Ban,
}

fn changed(by: &str, user: &str, before: Option<&Member>, after: Option<&Member>) {
    let say = |change: &str| tracing::info!(target: target!(), by, user, "{change}");
    match (before, after) {
        (None, Some(_)) => say("user added"),
        (Some(_), None) => say("user removed"),
        (Some(before), Some(after)) => changes(before, after).for_each(say),
        (None, None) => {}
    }
}

fn revoked(by: &str, tokens: usize) {
    if tokens > 0 {
        tracing::info!(target: target!(), by, tokens, "tokens revoked");
    }
}

fn changes(before: &Member, after: &Member) -> impl Iterator<Item = &'static str> {
    let active = match (before.active, after.active) {
        (true, false) => Some("user banned"),
        (false, true) => Some("user unbanned"),
        _ => None,
    };
    let since = before.tokens_since != after.tokens_since;
    let revoked = since.then_some("password changed, or all tokens of the user revoked");
    active.into_iter().chain(revoked)
}
