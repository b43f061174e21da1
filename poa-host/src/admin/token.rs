//! The secret of clients that may do more than read.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use poa_core::files;

use super::private;

/// The name of the file in the data directory that holds the token.
pub const ADMIN_TOKEN_FILE: &str = "admin_token";

/// A token that is generated once and kept in the data directory, readable by its owner only. It is never shown.
#[derive(Clone)]
pub(crate) struct AdminToken(Arc<str>);

impl AdminToken {
    /// Reads the token, or generates it.
    ///
    /// # Errors
    /// When the file cannot be read or created.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let file = data_dir.join(ADMIN_TOKEN_FILE);
        match fs::read_to_string(&file) {
            Ok(text) if !text.trim().is_empty() => {
                files::make_private(&file)?;
                Ok(Self(text.trim().into()))
            }
            Ok(_) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "the file is empty; delete it to have a new token generated",
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let token = Self(random()?.into());
                private::write(&file, &format!("{}\n", token.0))?;
                Ok(token)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the value of an `Authorization` header has this token. Takes the same time wherever the two differ.
    pub(crate) fn opens(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(7) else { return false };
        let (given, own) = (given.trim_ascii(), self.0.as_bytes());
        let difference = own.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        scheme.eq_ignore_ascii_case(b"bearer ") && given.len() == own.len() && difference == 0
    }
}

/// Names it only.
impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken")
    }
}

/// 32 random bytes, as hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_generated_once_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let token = AdminToken::open(dir.path()).unwrap();
        let file = dir.path().join(ADMIN_TOKEN_FILE);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.trim().len(), 64);
        let header = format!("Bearer {}", text.trim());
        assert!(token.opens(header.as_bytes()));
        assert!(AdminToken::open(dir.path()).unwrap().opens(header.as_bytes()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!format!("{token:?}").contains(text.trim()));
        for wrong in
            ["", "Bearer", "Bearer ", "Basic x", &header[..header.len() - 1], &format!("{header}0")]
        {
            assert!(!token.opens(wrong.as_bytes()), "{wrong}");
        }
        fs::write(&file, "\n").unwrap();
        assert!(AdminToken::open(dir.path()).unwrap_err().to_string().contains("delete it"));
    }
}
