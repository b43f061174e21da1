//! Identities: of processes, for health monitors, and of messages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use uuid::Uuid;

/// How a health monitor knows a process: `<hostname>-pid-<pid>-uuid-<uuid>`, as the Go and Ruby libraries write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    host: String,
    text: Arc<str>,
}

/// The name that the Go library gives a machine without a hostname.
const UNKNOWN: &str = "Host-Unknown";

impl Ident {
    /// An identity of this process that no other has.
    #[must_use]
    pub fn of_this_process() -> Self {
        let host = hostname();
        let text = format!("{host}-pid-{}-uuid-{}", std::process::id(), Uuid::new_v4()).into();
        Self { host, text }
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this text is the identity of a process on the same host.
    #[must_use]
    pub fn is_of_same_host(&self, other: &str) -> bool {
        self.host != UNKNOWN
            && other.strip_prefix(&self.host).is_some_and(|rest| rest.starts_with("-pid-"))
    }

    /// The channel on which heartbeats of this process are asked for.
    #[must_use]
    pub fn channel(&self) -> Arc<str> {
        health_channel(&self.text)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The channel of the heartbeats of a process.
pub(crate) fn health_channel(ident: &str) -> Arc<str> {
    format!("gilmour.health.{ident}").into()
}

#[cfg(unix)]
fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { UNKNOWN.to_owned() } else { name }
}

#[cfg(not(unix))]
fn hostname() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| UNKNOWN.to_owned())
}

/// Makes senders: `<uuid of the process>-<16 hex digits>`, all of one length because the key of a lock glues a sender and a group.
#[derive(Debug)]
pub(crate) struct Senders {
    process: String,
    next: AtomicU64,
}

impl Default for Senders {
    fn default() -> Self {
        Self { process: Uuid::new_v4().to_string(), next: AtomicU64::new(0) }
    }
}

impl Senders {
    pub(crate) fn next(&self) -> Arc<str> {
        format!("{}-{:016x}", self.process, self.next.fetch_add(1, Relaxed)).into()
    }

    /// The common prefix of all senders.
    #[cfg(any(test, feature = "nats", feature = "redis"))]
    pub(crate) fn prefix(&self) -> String {
        format!("{}-", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ident_names_host_and_process() {
        let ident = Ident::of_this_process();
        let parts: Vec<_> = ident.as_str().split("-pid-").collect();
        assert!(parts[1].starts_with(&format!("{}-uuid-", std::process::id())), "{ident}");
        assert!(ident.is_of_same_host(Ident::of_this_process().as_str()));
        assert!(!ident.is_of_same_host(&format!("x{ident}")));
        assert_eq!(&*ident.channel(), format!("gilmour.health.{ident}"));
    }

    #[test]
    fn senders_differ_and_have_one_length() {
        let senders = Senders::default();
        let (one, two) = (senders.next(), senders.next());
        assert!(one != two && one.len() == 53 && two.len() == 53);
        assert!(one.starts_with(&senders.prefix()));
    }
}
