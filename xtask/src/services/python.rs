//! Virtual environments of Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::{self, succeed};

/// A directory for the tools of this name.
pub(super) fn tools(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("test-tools").join(name)
}

/// Installs into a directory, unless that was done already.
pub(super) fn install(
    dir: &Path,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let done = dir.join("installed");
    if !done.exists() {
        std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        install(dir)?;
        std::fs::write(done, "").map_err(|error| error.to_string())?;
    }
    Ok(dir.to_owned())
}

/// Makes a virtual environment.
pub(super) fn environment(dir: &Path) -> Result<(), String> {
    // Debian's Python comes without the part of venv that brings pip.
    let make = || succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir));
    make().or_else(|_| debian::install("python3-venv").and_then(|()| make()))
}

/// Runs pip of a virtual environment.
pub(super) fn pip(environment: &Path) -> Command {
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip
}
