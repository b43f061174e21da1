//! The official classes of OTLP for Python, with the names of the semantic conventions.

use super::debian::succeed;
use super::{Service, python};
use crate::run::Failure;

/// A Python that has the packages.
pub(super) const VARIABLE: &str = "POA_TEST_OTLP_PYTHON";

const PACKAGES: [&str; 2] =
    ["opentelemetry-proto==1.45.2", "opentelemetry-semantic-conventions==0.66b2"];

/// A virtual environment with the packages.
pub(super) fn start() -> Result<Service, Failure> {
    let cure = format!(
        "install Python 3.10 or newer with venv and let pip reach its index, or set {VARIABLE} to one that has {PACKAGES:?}"
    );
    let made = python::install(&python::tools("opentelemetry"), |dir| {
        python::environment(dir)?;
        succeed(python::pip(dir).args(PACKAGES))
    });
    let dir = made.map_err(|why| Failure::unavailable("OpenTelemetry for Python", why, cure))?;
    Ok(Service::new().tell(VARIABLE, dir.join("bin/python")))
}
