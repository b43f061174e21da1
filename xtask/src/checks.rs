//! Checks that run nothing: words, arrows between crates, listings and examples of the public API, format, lints, documentation, licences, packages, features, compatibility.

use std::ffi::OsStr;
use std::path::Path;

use crate::libraries::libraries;
use crate::run::{Failure, cargo, cargo_with, has};
use crate::services::PLUGINS;

/// The target directory of the example plugins, which are a workspace of their own.
const PLUGINS_TARGET: &str = "target/plugins";

/// The directory of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every check that the CI runs before the tests.
pub(crate) fn lint() -> Result<(), Failure> {
    crate::words::check(root())?;
    crate::arrows::check(root())?;
    crate::api::check(root())?;
    crate::api::check_examples(root())?;
    cargo(["fmt", "--all", "--check"])?;
    cargo(["fmt", "--all", "--check", "--manifest-path", PLUGINS])?;
    let clippy = ["clippy", "--all-targets", "--locked"];
    let ours = ["--workspace", "--features", "poa-tests/autobahn"];
    let theirs = ["--target-dir", PLUGINS_TARGET, "--manifest-path", PLUGINS];
    let strict = ["--", "--deny", "warnings"];
    cargo(clippy.iter().chain(&ours).chain(&strict))?;
    cargo(clippy.iter().chain(&theirs).chain(&strict))?;
    let strict = [("RUSTDOCFLAGS", OsStr::new("--deny warnings"))];
    cargo_with(&strict, ["doc", "--workspace", "--no-deps", "--locked"])?;
    packages(&["--no-verify", "--allow-dirty"])?;
    deny()
}

/// Checks licences, sources and banned crates, where `cargo deny` is installed.
fn deny() -> Result<(), Failure> {
    if has("deny") {
        return cargo(["deny", "--all-features", "check", "bans", "licenses", "sources"]);
    }
    eprintln!(
        "xtask: licences, sources and banned crates are not checked: install cargo-deny by `cargo install cargo-deny --locked`"
    );
    Ok(())
}

/// Packs every library as it would be published, and builds each from its archive and those it depends on.
pub(crate) fn package() -> Result<(), Failure> {
    packages(&[])
}

fn packages(flags: &[&str]) -> Result<(), Failure> {
    let libraries = libraries()?;
    let each = libraries.iter().flat_map(|library| ["--package", &library.name]);
    cargo(["package", "--locked"].into_iter().chain(each).chain(flags.iter().copied()))
}

/// Builds each library by itself with each of its features: a build of the whole workspace can hide a missing one.
pub(crate) fn features() -> Result<(), Failure> {
    for library in libraries()? {
        for build in library.builds() {
            let check = ["check", "--locked", "--lib", "--package", &library.name];
            cargo(check.into_iter().chain(build.iter().map(String::as_str)))?;
        }
    }
    Ok(())
}

/// Compares the public interface of each library with that of a commit or tag.
pub(crate) fn semver(since: &str) -> Result<(), Failure> {
    if !has("semver-checks") {
        let cure = "install it by `cargo install cargo-semver-checks --locked`";
        return Err(Failure::unavailable("cargo-semver-checks", "it is not installed", cure));
    }
    let libraries = libraries()?;
    let each = libraries.iter().flat_map(|library| ["--package", &library.name]);
    cargo(["semver-checks", "--baseline-rev", since].into_iter().chain(each))
}
