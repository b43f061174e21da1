//! Log lines about changes of users, for those who have to tell later who did it. They are never summarised.

use std::net::IpAddr;

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

/// Everything that another process, such as the command line, or another node changed.
pub(crate) fn elsewhere(before: &Members, after: &Members) {
    let say = |user: &str, change: &str| {
        tracing::info!(target: target!(), by = "another process", user, "{change}");
    };
    for (name, member) in &after.users {
        match before.users.get(name) {
            None => say(name, "user added"),
            Some(earlier) => changes(earlier, member).for_each(|change| say(name, change)),
        }
    }
    for name in before.users.keys().filter(|name| !after.users.contains_key(*name)) {
        say(name, "user removed");
    }
    let banned = after.banned.difference(&before.banned).count();
    if banned > 0 {
        tracing::info!(target: target!(), by = "another process", tokens = banned, "tokens revoked");
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
