//! Files of the data directory that only their owner may access, whatever the umask.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file, which appears whole or not at all.
pub(crate) fn write(file: &Path, text: &str) -> io::Result<()> {
    let made = file.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&made)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    owner_only(&made)?;
    fs::rename(&made, file)
}

/// Makes a file that exists accessible to its owner only.
pub(super) fn owner_only(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}
