//! Redis: the installed program, or Debian's package. Tests start servers of their own; this sees to it that they can.

use std::ffi::OsString;

use poa_test_redis::PROGRAM;

use super::{Service, debian};
use crate::run::Failure;

/// The program.
pub(super) const VARIABLE: &str = PROGRAM;

/// Finds or installs it; nothing is started.
pub(super) fn start() -> Result<Service, Failure> {
    let program = "redis-server";
    let cure = format!(
        "install Redis 6 or newer (Debian: `apt-get install redis-server`), or set {VARIABLE} to its program"
    );
    debian::need(program, program).map_err(|why| Failure::unavailable("Redis", why, cure))?;
    Ok(Service::new().tell(VARIABLE, OsString::from(program)))
}
