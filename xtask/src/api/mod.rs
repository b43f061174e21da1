//! The public API of each library as text, checked in so that a review shows each change of it.
//!
//! The listing is made from the source: it follows modules and re-exports, and shows items without their bodies. It does not expand macros.

mod examples;
mod item;
mod source;
mod surface;

use std::path::Path;
use std::process::Command;

use crate::libraries::{Library, libraries};
use crate::run::{Failure, output};
use source::Module;

/// The directory of the listings.
const LISTINGS: &str = "docs/api";

/// Libraries whose every public type has an example.
const WITH_EXAMPLES: &[&str] = &["poa-core"];

/// Writes the listing of each library.
pub(crate) fn write(root: &Path) -> Result<(), Failure> {
    for library in libraries()? {
        let file = root.join(LISTINGS).join(file_name(&library));
        let unwritable = |error: std::io::Error| {
            Failure::Refused(format!("cannot write {}: {error}", file.display()))
        };
        std::fs::create_dir_all(root.join(LISTINGS)).map_err(unwritable)?;
        std::fs::write(&file, listing(root, &library)?).map_err(unwritable)?;
    }
    Ok(())
}

/// Writes the listings, and prints their changes since a commit or tag.
pub(crate) fn write_and_compare(root: &Path, since: Option<&str>) -> Result<(), Failure> {
    write(root)?;
    if let Some(since) = since {
        let mut git = Command::new("git");
        print!("{}", output(git.args(["diff", since, "--", LISTINGS]).current_dir(root))?);
    }
    Ok(())
}

/// Refuses a public API that differs from its listing.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let mut changed = Vec::new();
    for library in libraries()? {
        let listed = std::fs::read_to_string(root.join(LISTINGS).join(file_name(&library)));
        if listed.unwrap_or_default() != listing(root, &library)? {
            changed.push(library.name);
        }
    }
    match changed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(format!(
            "the public API of {} differs from {LISTINGS}; run `cargo xtask docs` and review the change",
            changed.join(", ")
        ))),
    }
}

/// Refuses a public type or function without an example.
pub(crate) fn check_examples(root: &Path) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for library in libraries()?.iter().filter(|one| WITH_EXAMPLES.contains(&&*one.name)) {
        let module = load(root, library)?;
        missing.extend(examples::missing(&surface::entries(&crate_name(library), &module)));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(format!(
            "no example that runs: {}; write one, or name a type that has one: \"See [`Type`] for an example.\"",
            missing.join(", ")
        ))),
    }
}

fn file_name(library: &Library) -> String {
    format!("{}.rs.txt", library.name)
}

fn listing(root: &Path, library: &Library) -> Result<String, Failure> {
    Ok(surface::of(&crate_name(library), &load(root, library)?))
}

fn crate_name(library: &Library) -> String {
    library.name.replace('-', "_")
}

fn load(root: &Path, library: &Library) -> Result<Module, Failure> {
    Module::load(&root.join(&library.name).join("src/lib.rs"))
}
