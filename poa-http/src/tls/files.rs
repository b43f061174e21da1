use std::path::Path;

use poa_core::{BoxError, BuildError};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::CertificateFiles;

pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a certificate with its chain, and its key.
pub(super) fn read(files: &CertificateFiles) -> Result<Pair, BuildError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("certificate", &files.cert, error))?;
    if certificates.is_empty() {
        return Err(unreadable("certificate", &files.cert, pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable("private key", &files.key, error))?;
    Ok((certificates, key))
}

fn unreadable(what: &str, path: &Path, error: pem::Error) -> BuildError {
    let path = path.display();
    let (why, source): (_, Option<BoxError>) = match error {
        pem::Error::Io(error) => {
            (format!("it cannot be read ({error}); check path and rights"), None)
        }
        pem::Error::NoItemsFound => {
            (format!("it holds no {what} in PEM; name the right file"), None)
        }
        error => ("it is not valid PEM; name the right file".to_owned(), Some(error.into())),
    };
    let failed = BuildError::failed(format!("tls: no {what} from {path}: {why}"));
    match source {
        Some(source) => failed.with_source(source),
        None => failed,
    }
}

/// The two files were read but cannot be used together.
pub(super) fn do_not_fit(files: &CertificateFiles, error: rustls::Error) -> BuildError {
    let (cert, key) = (files.cert.display(), files.key.display());
    BuildError::failed(format!(
        "tls: the key {key} does not match the certificate {cert}; name the key that this certificate was issued for"
    ))
    .with_source(error)
}
