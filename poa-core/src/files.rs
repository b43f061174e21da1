//! Files and directories for their owner alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Options to open a file that only its owner can read and write, should it be created.
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a directory that only its owner can use, and those above it, and syncs their names where the file system can do that.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().skip(1).take_while(|dir| !dir.exists());
    let made: Vec<_> = std::iter::once(path).chain(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    made.into_iter().filter_map(Path::parent).for_each(sync_names);
    Ok(())
}

/// A directory that cannot be synced (closed to those who may only pass through, or on a file system without it) is as durable as
/// that file system makes it; the engine that stores messages there checks its own.
fn sync_names(dir: &Path) {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    if let Err(error) = synced {
        tracing::debug!("cannot sync the directory {}: {error}", dir.display());
    }
}
