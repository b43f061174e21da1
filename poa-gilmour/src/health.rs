//! Heartbeats: a process tells a health monitor what it subscribed to.

use std::sync::{Arc, Weak};

use async_trait::async_trait;

use crate::engine::{Call, Handler, Registration};
use crate::local::Local;
use crate::{Data, Ident, Message};

/// The hash of the idents of all processes.
#[cfg(feature = "redis")]
pub(crate) const KNOWN_HOSTS: &str = "gilmour.known_host.health";

/// The handler that answers the heartbeats of this process.
pub(crate) fn heartbeat(ident: &Ident, local: &Arc<Local>) -> Registration {
    Registration::heartbeat(ident, Heartbeat(Arc::downgrade(local)))
}

/// Answers with the channels that are subscribed to, without those of replies and heartbeats.
struct Heartbeat(Weak<Local>);

#[async_trait]
impl Handler for Heartbeat {
    async fn handle(&self, _: Call) -> Message {
        let (mut channels, patterns) =
            self.0.upgrade().map(|local| local.channels()).unwrap_or_default();
        channels.extend(patterns);
        channels.retain(|channel| !channel.starts_with("gilmour.health."));
        channels.sort_unstable();
        let names: Vec<&str> = channels.iter().map(AsRef::as_ref).collect();
        Data::new(&names)
            .map_or_else(|error| Message::failure(500, &error.to_string()), Message::ok)
    }
}
