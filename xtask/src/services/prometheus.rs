//! Prometheus and `promtool`: the installed programs, or those of Debian's package, which is unpacked and not installed, so that no
//! daemon starts. Tests run them; this sees to it that they can.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::debian::{self, succeed};
use super::{Service, python};
use crate::run::Failure;

/// The directory of the programs; empty where they are found by `PATH`.
pub(super) const VARIABLE: &str = "POA_TEST_PROMETHEUS_BIN";

const PACKAGE: &str = "prometheus";
const CURE: &str = "install Prometheus 2.42 or newer with `promtool`, or name the directory of both in POA_TEST_PROMETHEUS_BIN";

/// Finds or unpacks the programs; nothing is started.
pub(super) fn start() -> Result<Service, Failure> {
    let works = |program| succeed(std::process::Command::new(program).arg("--version")).is_ok();
    if works("promtool") && works("prometheus") {
        return Ok(Service::new().tell(VARIABLE, OsString::new()));
    }
    let directory = unpacked().map_err(|why| Failure::unavailable("Prometheus", why, CURE))?;
    Ok(Service::new().tell(VARIABLE, directory))
}

fn unpacked() -> Result<PathBuf, String> {
    let unpack = |dir: &Path| debian::unpack(PACKAGE, dir);
    let dir = python::install(&python::tools(PACKAGE), unpack)?;
    Ok(dir.join("usr/bin"))
}
