use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

/// Creates the file, readable by its owner only. A file that exists is left as it is. Blocks.
///
/// # Errors
/// When the file cannot be created, or exists and cannot be opened for reading and writing.
pub fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// The file next to the database that ends in this, such as `-wal`.
pub(crate) fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
