//! Generates a secret when none is configured.

use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use poa_core::config::Secret;
use poa_core::files;

/// The number of random bytes in a secret.
const LENGTH: usize = 24;

/// Cryptographically random bytes.
pub(crate) fn random() -> Vec<u8> {
    let mut bytes = [0; LENGTH];
    // This fails only on a system without a source of randomness, where nothing here is secure.
    rand::fill(&mut bytes).expect("the system provides random bytes");
    bytes.to_vec()
}

/// Reads the secret from this file. If the file is missing, generates one and creates the file, readable by its owner
/// alone.
///
/// # Errors
/// When the file cannot be read or created, or is empty.
pub(crate) fn read_or_make(path: &Path) -> io::Result<Secret> {
    match make(path) {
        Ok(()) => tracing::info!("the secret of the dashboard is in {}", path.display()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(about(path, &error)),
    }
    let text = std::fs::read_to_string(path).map_err(|error| about(path, &error))?;
    match text.trim() {
        "" => {
            Err(about(path, &io::Error::other("it is empty; remove it to generate a new secret")))
        }
        secret => Ok(Secret::new(secret)),
    }
}

fn make(path: &Path) -> io::Result<()> {
    let mut file = files::private().write(true).create_new(true).open(path)?;
    writeln!(file, "{}", BASE64_URL_SAFE_NO_PAD.encode(random()))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot use the secret in {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dashboard.secret");
        let secret = read_or_make(&path).unwrap();
        assert_eq!(secret.expose().len(), 32);
        assert_eq!(read_or_make(&path).unwrap(), secret);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(read_or_make(&path).unwrap_err().to_string().contains("remove it"));
    }
}
