//! The example plugins in shared libraries, built as their authors would: outside the workspace, each by its own compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Service;
use crate::run::{Failure, cargo};

/// Names the directory of the libraries.
pub(super) const VARIABLE: &str = "POA_TEST_PLUGINS";

/// The manifest of those in Rust, which are a workspace of their own.
pub(crate) const PLUGINS: &str = "examples/plugins/rust/Cargo.toml";
const C: [&str; 2] = ["ndjson", "unruly"];

/// Builds them as for a test.
pub(super) fn start() -> Result<Service, Failure> {
    Ok(Service::new().tell(VARIABLE, build(false)?))
}

/// Builds them as for use.
pub(super) fn start_for_bench() -> Result<Service, Failure> {
    Ok(Service::new().tell(VARIABLE, build(true)?))
}

/// Builds them; where they are then.
fn build(release: bool) -> Result<PathBuf, Failure> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let target = std::path::absolute(target.join("plugins")).map_err(|error| {
        Failure::unavailable("a directory to build in", error.to_string(), "start in the workspace")
    })?;
    let profile = if release { "release" } else { "dev" };
    let dir = target.to_string_lossy();
    let manifest = ["build", "--locked", "--manifest-path", PLUGINS, "--profile", profile];
    cargo(manifest.into_iter().chain(["--target-dir", &dir]))?;
    let libraries = target.join(if release { "release" } else { "debug" });
    C.iter().try_for_each(|name| compile(name, &libraries))?;
    Ok(libraries)
}

fn compile(name: &str, into: &Path) -> Result<(), Failure> {
    let library = into.join(format!("lib{name}.so"));
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-g"])
        .args(["-shared", "-fPIC", "-pthread", "-I", "poa-plugin/include", "-o"])
        .arg(library)
        .arg(format!("examples/plugins/c/{name}.c"));
    let cure = "install a C compiler as `cc`";
    match compiler.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::unavailable(name, format!("`cc` ended with {status}"), cure)),
        Err(error) => Err(Failure::unavailable(name, format!("no `cc`: {error}"), cure)),
    }
}
