//! The program that checks the units of systemd.

use super::{Service, debian};
use crate::run::Failure;

/// The program.
pub(super) const VARIABLE: &str = "POA_TEST_SYSTEMD_ANALYZE";
const PROGRAM: &str = "systemd-analyze";

/// Finds it.
pub(super) fn start() -> Result<Service, Failure> {
    let cure =
        "install the package systemd, or set POA_TEST_SYSTEMD_ANALYZE to its systemd-analyze";
    let found = debian::need(PROGRAM, "systemd");
    found.map_err(|why| Failure::unavailable(PROGRAM, why, cure))?;
    Ok(Service::new().tell(VARIABLE, PROGRAM))
}
