//! Reasons why a file cannot be loaded as a plugin.

use std::path::PathBuf;

use crate::abi;

/// The reason why a file cannot be loaded as a plugin. Each text names the file, the cause and the cure.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct LoadError {
    path: PathBuf,
    cause: Cause,
}

impl LoadError {
    pub(crate) fn new(path: impl Into<PathBuf>, cause: impl Into<Cause>) -> Self {
        Self { path: path.into(), cause: cause.into() }
    }
}

/// The fault of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error(
        "cannot read the file: {0}; is the path right? It starts at the directory of the configuration file"
    )]
    Unreadable(#[from] std::io::Error),
    #[error(
        "not a shared library ({0}); build one with `crate-type = [\"cdylib\"]`, or with `cc -shared -fPIC`"
    )]
    NotALibrary(String),
    #[error("the file ends too early ({0}); copy or build it again")]
    Truncated(String),
    #[error(
        "a library, but no plugin: it does not export `{symbol}`; add `poa_plugin::export! {{ … }}`, or define that constant in C",
        symbol = abi::SYMBOL
    )]
    NoSymbol,
    #[error(
        "made for version {0} of the plugin interface, and this server speaks version {major}.{minor}; build the plugin against that version, or use a server of the other",
        major = abi::POA_ABI_MAJOR,
        minor = abi::POA_ABI_MINOR
    )]
    OtherVersion(String),
    #[error(
        "the system cannot load it: {0}; was it built for this system, and is what it needs installed?"
    )]
    NotLoaded(String),
    #[error(
        "its descriptor is not valid: {0}; build it with the header or crate that this server's version ships"
    )]
    Descriptor(String),
}
