//! The commands around kinds: list, plugin inspect.

use std::path::Path;

use poa_host::{Kinds, Library, Source};

use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry;

/// Prints all kinds, with the library of those that are loaded.
pub(crate) fn list(source: &Source) -> Result<u8, Failure> {
    let Kinds { registry, libraries } = source.kinds(&registry())?;
    for kind in registry.handlers().keys() {
        say(format_args!("handler  {kind}{}", origin(&libraries, "handler", kind)));
    }
    for kind in registry.receivers().keys() {
        say(format_args!("receiver {kind}{}", origin(&libraries, "receiver", kind)));
    }
    Ok(0)
}

fn origin(libraries: &[Library], role: &str, kind: &str) -> String {
    let offers = |library: &&Library| {
        let mut kinds = library.info().kinds.iter();
        kinds.any(|offered| offered.name == kind && offered.role.to_string() == role)
    };
    libraries.iter().find(offers).map_or_else(String::new, |library| {
        let info = library.info();
        format!("  {} ({} {})", library.file().display(), info.name, info.version)
    })
}

/// Prints what a library says of itself.
pub(crate) fn inspect(file: &Path) -> Result<u8, Failure> {
    let info = poa_host::inspect(file).map_err(Failure::because)?;
    say(format_args!("name     {}", info.name));
    say(format_args!("version  {}", info.version));
    say(format_args!("abi      {}.{}", info.abi.0, info.abi.1));
    for kind in info.kinds {
        say(format_args!("{:8} {}", kind.role.to_string(), kind.name));
    }
    Ok(0)
}
