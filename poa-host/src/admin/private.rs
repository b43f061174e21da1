//! Files of the data directory that only their owner may access, whatever the umask.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use poa_core::files;

/// Writes a file, which appears whole or not at all.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    let made = file.with_extension("new");
    let mut out = files::private().write(true).create(true).truncate(true).open(&made)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    // It may have been left by a server that crashed.
    files::make_private(&made)?;
    fs::rename(&made, file)
}
