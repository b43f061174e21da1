//! What the admin listener shows.

use poa_core::HostHandle;
use serde::Serialize;

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Plugins are being built.
    Starting,
    /// Messages are taken.
    Ready,
    /// The host of the old configuration stops, and that of the new one starts.
    Reloading,
    /// Nothing new is taken; what was taken is delivered.
    Draining,
}

impl Phase {
    /// What an operator is told when no messages are taken.
    pub(crate) fn explain(self) -> &'static str {
        match self {
            Self::Starting => "starting: the plugins are being built",
            Self::Ready => "the host takes no messages",
            Self::Reloading => "reloading: the host is being replaced",
            Self::Draining => "draining: nothing new is taken, what was taken is being delivered",
        }
    }
}

/// What the admin listener knows at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) phase: Phase,
    pub(crate) host: Option<HostHandle>,
    pub(crate) warnings: Vec<String>,
}

impl View {
    /// True when messages are taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready && self.host.as_ref().is_some_and(HostHandle::is_ready)
    }
}
