//! The name of this node.

use std::fs;
use std::io;
use std::path::Path;

use poa_core::BuildError;

/// The file in the data directory that holds the id of the node.
const FILE: &str = "node";

/// A name that stays the same when the host restarts and is not that of another node: the host name, and an id that is made once.
///
/// # Errors
/// When the id can neither be read nor written.
pub(crate) fn name(data_dir: &Path) -> Result<String, BuildError> {
    let path = data_dir.join(FILE);
    let id = match fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        Ok(_) => make(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path)?,
        Err(error) => return Err(failed(&path, error)),
    };
    Ok(format!("{}-{id}", hostname()))
}

fn make(path: &Path) -> Result<String, BuildError> {
    let id = format!("{:08x}", fastrand::u32(..));
    fs::write(path, &id).map_err(|error| failed(path, error))?;
    Ok(id)
}

fn failed(path: &Path, error: io::Error) -> BuildError {
    BuildError::failed(format!("cannot keep the id of this node in {}", path.display()))
        .with_source(error)
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}
