//! A browser for the tests of the dashboard: Debian's Chromium, driven by `playwright-core` from npm, and checked by `axe-core`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Service;
use super::debian::{self, succeed};
use crate::run::Failure;

/// The program of a Chromium.
pub(super) const VARIABLE: &str = "POA_TEST_CHROMIUM";
/// The `node_modules` with the packages that drive it.
const MODULES: &str = "POA_TEST_NODE_MODULES";

/// The packages, in the versions that the tests were written for.
const PACKAGES: [(&str, &str); 2] = [("playwright-core", "1.65.1"), ("axe-core", "4.14.1")];
/// The names of the program on Debian, Ubuntu and other systems.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Finds or installs both; nothing is started.
pub(super) fn start() -> Result<Service, Failure> {
    Ok(Service::new().tell(VARIABLE, chromium()?).tell(MODULES, modules()?))
}

fn chromium() -> Result<OsString, Failure> {
    if let Some(program) = installed() {
        return Ok(program);
    }
    // Ubuntu uses the other name.
    let installing = debian::install("chromium").or_else(|_| debian::install("chromium-browser"));
    let why = match installing {
        Ok(()) => "it was installed, and is not there".to_owned(),
        Err(why) => format!("there is none, and {why}"),
    };
    let cure = "install Chromium, or set POA_TEST_CHROMIUM to its program and POA_TEST_NODE_MODULES as well";
    installed().ok_or_else(|| Failure::unavailable("Chromium", why, cure))
}

/// The first of the programs that is on the path, as a whole path: what drives it asks for that.
fn installed() -> Option<OsString> {
    let path = env::var_os("PATH")?;
    let places: Vec<_> = env::split_paths(&path).collect();
    let found = PROGRAMS.iter().flat_map(|program| places.iter().map(move |at| at.join(program)));
    let works = |program: &PathBuf| {
        program.exists() && succeed(Command::new(program).arg("--version")).is_ok()
    };
    found.into_iter().find(works).map(Into::into)
}

/// The directory of the packages, installed if need be.
fn modules() -> Result<PathBuf, Failure> {
    if let Some(modules) = env::var_os(MODULES) {
        return Ok(modules.into());
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/test-tools/browser");
    let modules = tools.join("node_modules");
    if PACKAGES.iter().all(|(name, version)| has(&modules, name, version)) {
        return Ok(modules);
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    npm.arg(&tools).args(PACKAGES.map(|(name, version)| format!("{name}@{version}")));
    let cure = "install Node.js 18 or newer with npm and let it reach its registry, or set POA_TEST_NODE_MODULES to a \
        directory that has them";
    let made = std::fs::create_dir_all(&tools).map_err(|error| error.to_string());
    let installed = made.and_then(|()| debian::need("npm", "npm")).and_then(|()| succeed(&mut npm));
    installed.map_err(|why| Failure::unavailable("playwright-core and axe-core", why, cure))?;
    Ok(modules)
}

/// Whether a package is there in this version.
fn has(modules: &Path, name: &str, version: &str) -> bool {
    let package = std::fs::read_to_string(modules.join(name).join("package.json"));
    package.is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
}
