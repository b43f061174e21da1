//! A library that gives a process another clock.

use std::path::PathBuf;

use super::{Service, debian};
use crate::run::Failure;

/// The library, to be loaded before all others.
pub(super) const VARIABLE: &str = "POA_TEST_FAKETIME";

const CURE: &str = "install the package faketime, or set POA_TEST_FAKETIME to libfaketimeMT.so.1";

/// Finds the library.
pub(super) fn start() -> Result<Service, Failure> {
    let unavailable = |why: String| Failure::unavailable("faketime", why, CURE);
    debian::need("faketime", "faketime").map_err(unavailable)?;
    let library = find().ok_or_else(|| unavailable("there is no libfaketimeMT.so.1".to_owned()))?;
    Ok(Service::new().tell(VARIABLE, library))
}

/// Debian has it in a directory of the machine's architecture, others below `/usr/lib` or `/usr/lib64` itself.
fn find() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?;
    let dirs = libraries.filter_map(|entry| Some(entry.ok()?.path()));
    let files = dirs.chain(["/usr/lib".into(), "/usr/lib64".into()]);
    let mut files = files.map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.is_file())
}
