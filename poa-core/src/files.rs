//! Files and directories that only their owner can access.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Options that, if they create a file, make it readable and writable for its owner only.
///
/// ```
/// use std::os::unix::fs::PermissionsExt as _;
/// use poa_core::files::private;
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("token");
/// std::io::Write::write_all(&mut private().create_new(true).write(true).open(&path)?, b"t0ken")?;
/// // Other users could not read it at any moment, as they could between `File::create` and `set_permissions`.
/// assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a file that exists readable and writable for its owner only, if others have access to it.
///
/// # Errors
/// When its permissions cannot be read or changed.
///
/// ```
/// use std::os::unix::fs::PermissionsExt as _;
/// use poa_core::files::make_private;
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("copied-by-hand");
/// std::fs::write(&path, b"t0ken")?;
/// make_private(&path)?;
/// assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn make_private(path: &Path) -> io::Result<()> {
    if path.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// Creates a directory that only its owner can use, and its parents, and syncs their entries if the file system supports that.
///
/// # Errors
/// When it cannot be created.
///
/// ```
/// use std::os::unix::fs::PermissionsExt as _;
/// use poa_core::files::make_private_dir;
///
/// # let dir = tempfile::tempdir()?;
/// let data = dir.path().join("poa-data/store");
/// make_private_dir(&data)?;
/// make_private_dir(&data)?; // it may exist
/// assert_eq!(data.metadata()?.permissions().mode() & 0o777, 0o700);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().skip(1).take_while(|dir| !dir.exists());
    let made: Vec<_> = std::iter::once(path).chain(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    made.into_iter().filter_map(Path::parent).for_each(sync_names);
    Ok(())
}

/// If a directory cannot be synced (because its permissions only allow traversal, or the file system does not support it), it is
/// as durable as that file system makes it; the engine that stores messages there does its own checks.
fn sync_names(dir: &Path) {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    if let Err(error) = synced {
        tracing::debug!("cannot sync the directory {}: {error}", dir.display());
    }
}
