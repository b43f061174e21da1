//! Docker, by its HTTP interface on a Unix socket: containers are resolved, started and followed.
//!
//! A client of six requests on `hyper`, which the workspace has anyway. Every request has a connection and a deadline of its own, so that a
//! daemon that hangs or restarts affects nothing but the requests that it was asked meanwhile.

mod client;
mod containers;
mod follow;
mod inspect;
mod resolve;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::client::Client;

/// The socket of the daemon, unless another is named.
pub const SOCKET: &str = "/var/run/docker.sock";
/// The label whose value is the tag of a container.
pub const TAG_LABEL: &str = "leviathan.tag";
/// The label that names the pool of a container.
pub const POOL_LABEL: &str = "leviathan.cpool";
/// The variable of a container that names the CENs it joins when it starts, separated by commas.
pub const CENS_VARIABLE: &str = "LEV_CIN";

/// A Docker daemon. Nothing is connected until something is asked.
#[derive(Debug)]
pub struct Docker {
    client: Client,
    /// Tells that a container may have come or gone.
    changed: Notify,
    /// Names of containers that were started for nothing and could not be removed yet.
    leftovers: Mutex<BTreeSet<String>>,
}

impl Docker {
    /// The daemon at this socket. No request takes longer than `deadline`.
    pub fn new(socket: impl Into<PathBuf>, deadline: Duration) -> Self {
        Self {
            client: Client::new(socket.into(), deadline),
            changed: Notify::new(),
            leftovers: Mutex::default(),
        }
    }
}
