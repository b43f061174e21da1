//! A loaded shared library.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::os::unix as dl;
use poa_core::Registry;

use super::call_table::CallTable;
use super::descriptor::{self, Description};
use super::error::{Cause, LoadError};
use super::image;
use super::loaded_kind::{LoadedHandler, LoadedKind, LoadedReceiver};
use crate::abi;

/// The description of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The name of the library.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The major version of the interface it was built for, and the lowest minor one.
    pub abi: (u32, u32),
    /// Its kinds.
    pub kinds: Vec<KindInfo>,
}

/// A kind of handler or receiver that a plugin offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindInfo {
    /// Its role.
    pub role: Role,
    /// Its name in `kind = "…"`.
    pub name: String,
}

/// The role of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// A handler.
    Handler,
    /// A receiver.
    Receiver,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler",
            Self::Receiver => "receiver",
        })
    }
}

/// Reads the description of a plugin.
///
/// The headers of the file are checked first. Then the system loads it, which runs its constructors (a Rust library
/// has none of its own). The description is constant data, and no function of the plugin is called. The library is not
/// unloaded again.
///
/// # Errors
/// When the file is not a plugin for this host.
pub fn inspect(file: &Path) -> Result<Info, LoadError> {
    Ok(open(file)?.info)
}

/// A loaded shared library. It is never unloaded: its threads can run until the process ends.
#[derive(Clone, Debug)]
pub struct Library {
    file: PathBuf,
    info: Info,
    kinds: Vec<(Role, Arc<LoadedKind>)>,
}

impl Library {
    /// Loads a plugin and reads the schemas of its kinds.
    ///
    /// The caller must trust the file: it runs with all rights of this process.
    ///
    /// # Errors
    /// When the file is not a plugin for this host. A loaded library stays loaded.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        let description = open(file)?;
        Self::of(file, description)
    }

    /// A library with this descriptor, which is part of the program.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn linked(descriptor: &'static abi::Descriptor) -> Result<Self, LoadError> {
        let file = Path::new("linked");
        // SAFETY: a reference that is valid until the process ends; its author guarantees the data it leads to.
        let description = unsafe { descriptor::read(descriptor) };
        Self::of(file, description.map_err(|cause| LoadError::new(file, cause))?)
    }

    fn of(file: &Path, description: Description) -> Result<Self, LoadError> {
        let Description { info, kinds, metrics, address } = description;
        let table = CallTable::for_ever(&info.name, address, metrics);
        let kinds = info.kinds.iter().zip(kinds).map(|(kind, functions)| {
            let loaded = LoadedKind::new(table, &kind.name, functions);
            let loaded = loaded.map_err(|cause| LoadError::new(file, cause))?;
            Ok((kind.role, Arc::new(loaded)))
        });
        let kinds = kinds.collect::<Result<_, _>>()?;
        Ok(Self { file: file.to_owned(), info, kinds })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its description.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Adds every kind of the library to a registry. An existing kind is not replaced; see [`Registry::duplicates`].
    #[must_use]
    pub fn register(&self, registry: Registry) -> Registry {
        self.kinds.iter().fold(registry, |registry, (role, loaded)| match role {
            Role::Handler => {
                registry.handler_kind(loaded.kind(), Arc::new(LoadedHandler(loaded.clone())))
            }
            Role::Receiver => {
                registry.receiver_kind(loaded.kind(), Arc::new(LoadedReceiver(loaded.clone())))
            }
        })
    }
}

fn open(file: &Path) -> Result<Description, LoadError> {
    let opened = || {
        image::check(file)?;
        // The system would look up a name without a slash elsewhere.
        let whole = std::fs::canonicalize(file)?;
        read_symbol(&whole)
    };
    opened().map_err(|cause| LoadError::new(file, cause))
}

fn read_symbol(file: &Path) -> Result<Description, Cause> {
    let not_loaded = |error: libloading::Error| {
        // The message of the system is the source.
        let said = std::error::Error::source(&error).map(ToString::to_string);
        Cause::NotLoaded(said.unwrap_or_else(|| error.to_string()))
    };
    // SAFETY: runs the constructors of the library, which the caller must trust.
    let library = unsafe { dl::Library::open(Some(file), dl::RTLD_NOW | dl::RTLD_LOCAL) };
    let library = library.map_err(not_loaded)?;
    // SAFETY: only the address is taken.
    let symbol = unsafe { library.get::<*const abi::Descriptor>(abi::SYMBOL) };
    let address = symbol.map(|symbol| symbol.as_raw_ptr());
    // From here on it can have threads, so it is never unloaded.
    std::mem::forget(library);
    // SAFETY: a symbol of a library that is never unloaded; its author guarantees the data it leads to.
    unsafe { descriptor::read(address.map_err(not_loaded)?.cast()) }
}
