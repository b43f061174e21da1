//! The state that the admin listener shows.

use std::path::Path;
use std::sync::Arc;

use poa_core::HostHandle;
use serde::Serialize;

use super::certificates::CertificateFile;
use crate::About;
use crate::reload::Reloads;

/// The phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Plugins are being built.
    Starting,
    /// Messages are accepted.
    Ready,
    /// The host of the old configuration stops, and that of the new one starts.
    Reloading,
    /// No new messages are accepted; the accepted ones are delivered.
    Draining,
}

impl Phase {
    /// The reason why no messages are accepted.
    pub(crate) fn explain(self) -> &'static str {
        match self {
            Self::Starting => "starting: the plugins are being built",
            Self::Ready => "the host accepts no messages",
            Self::Reloading => "reloading: the host is being replaced",
            Self::Draining => {
                "draining: no new messages are accepted, the accepted ones are being delivered"
            }
        }
    }
}

/// The state of the server at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) phase: Phase,
    pub(crate) host: Option<HostHandle>,
    pub(crate) warnings: Vec<String>,
    pub(crate) about: About,
    pub(crate) reloads: Reloads,
    /// The directory whose free space is shown.
    pub(crate) data_dir: Option<Arc<Path>>,
    /// The certificates whose expiry is shown.
    pub(crate) certificates: Arc<[CertificateFile]>,
}

impl View {
    /// Before anything runs.
    pub(crate) fn new(about: About) -> Self {
        Self {
            phase: Phase::Starting,
            host: None,
            warnings: Vec::new(),
            about,
            reloads: Reloads::default(),
            data_dir: None,
            certificates: Arc::default(),
        }
    }

    /// True when messages are accepted.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready && self.host.as_ref().is_some_and(HostHandle::is_ready)
    }
}
