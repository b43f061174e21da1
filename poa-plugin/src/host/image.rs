//! Checks of a file before the system loads it, which would run its constructors, or end the process if the file is
//! truncated.

use std::fs::File;
use std::path::Path;

use object::read::ReadCache;
use object::{Object as _, ObjectKind, ObjectSegment as _};

use super::error::Cause;
use crate::abi;

/// The prefix of the names of all versions of the symbol.
const ANY_VERSION: &str = "poa_plugin_descriptor_v";

/// Looks at the file without loading it.
pub(crate) fn check(path: &Path) -> Result<(), Cause> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Cause::NotALibrary("not a file".to_owned()));
    }
    let cache = ReadCache::new(file);
    let image = object::File::parse(&cache).map_err(|error| damaged(&cache, &error))?;
    if image.kind() != ObjectKind::Dynamic {
        return Err(Cause::NotALibrary(format!("{:?}", image.kind()).to_lowercase()));
    }
    for segment in image.segments() {
        let (offset, length) = segment.file_range();
        let end = offset.saturating_add(length);
        if end > metadata.len() {
            let has = metadata.len();
            return Err(Cause::Truncated(format!("it should have {end} bytes and has {has}")));
        }
    }
    symbol(&image)
}

/// A library that cannot be read to its end, or not a library at all.
fn damaged(cache: &ReadCache<File>, error: &object::Error) -> Cause {
    let known = object::FileKind::parse(cache).is_ok();
    if known { Cause::Truncated(error.to_string()) } else { Cause::NotALibrary(error.to_string()) }
}

fn symbol<'a>(image: &object::File<'a, &'a ReadCache<File>>) -> Result<(), Cause> {
    let exports = image.exports().map_err(|error| Cause::Truncated(error.to_string()))?;
    let mut other = None;
    for export in exports {
        let name = String::from_utf8_lossy(export.name());
        // On systems where symbols have an underscore as prefix, so does this one.
        let name = name.strip_prefix('_').unwrap_or(&name);
        if name == abi::SYMBOL {
            return Ok(());
        }
        other = other.or_else(|| name.strip_prefix(ANY_VERSION).map(str::to_owned));
    }
    Err(other.map_or(Cause::NoSymbol, Cause::OtherVersion))
}
