//! The servers and tools that tests need: found or installed, started privately on free ports, stopped with this process.
//!
//! Tests learn of them by variables in the environment. Whoever sets such a variable themselves keeps their own server, and
//! none is started.

mod scratch;

use std::ffi::OsString;
use std::process::Child;

use crate::run::Failure;

pub(crate) use scratch::Scratch;

/// A started server or an installed tool. Dropping it stops the server and removes its files.
pub(crate) struct Service {
    /// What to tell the tests: names of variables and their values.
    environment: Vec<(&'static str, OsString)>,
    _process: Option<Stopping>,
    _files: Option<Scratch>,
}

/// What tests need, by name, and how it is had.
const ALL: &[(&str, fn() -> Result<Service, Failure>)] = &[];

/// Everything there is, started side by side.
///
/// # Errors
/// The first that could not be had. Nothing is left running.
pub(crate) fn start_all() -> Result<Vec<Service>, Failure> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = ALL.iter().map(|(name, start)| (name, scope.spawn(start))).collect();
        let ended = starting.into_iter().map(|(name, starting)| match starting.join() {
            Ok(service) => service,
            Err(_) => Err(Failure::unavailable(*name, "starting it panicked", "see above")),
        });
        ended.collect()
    })
}

impl Service {
    /// What the tests are told.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.environment.iter().map(|(name, value)| (*name, value))
    }
}

/// A process that is killed when this is dropped.
struct Stopping(Child);

impl Drop for Stopping {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
