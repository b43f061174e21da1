//! The threads of an instance.
//!
//! Each instance has its own runtime: one whose threads the author's code blocks is left behind with its instance, and
//! the next instance starts on free threads.

use std::time::Duration;

use poa_core::BuildError;
use tokio::runtime::{Builder, Handle, Runtime};

use super::context::HostRef;
use super::log;

/// The time limit for the tasks and files of a dropped instance to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The runtime of one instance. Dropping it never waits, so it can be dropped anywhere.
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// Starts this many threads, which log to this host.
    pub(super) fn start(threads: usize, host: HostRef) -> Result<Self, BuildError> {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(threads.max(1))
            .thread_name("poa-plugin")
            .on_thread_start(move || log::is_from(host))
            .enable_all();
        let failed = |error| BuildError::unavailable("cannot start threads").with_source(error);
        Ok(Self(Some(builder.build().map_err(failed)?)))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.as_ref().expect("it is taken when it ends").handle().clone()
    }

    /// Waits until its tasks have ended, so that their resources are free. Not on a thread of any runtime.
    pub(super) fn end(mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
