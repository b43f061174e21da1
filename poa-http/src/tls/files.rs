use std::path::Path;

use poa_core::{BoxError, BuildError};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

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
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
        encrypted(&files.key).unwrap_or_else(|| unreadable("private key", &files.key, error))
    })?;
    Ok((certificates, key))
}

/// The error for a key that is protected by a passphrase, in PKCS #8 or as OpenSSL used to write it, if that is the reason.
fn encrypted(path: &Path) -> Option<BuildError> {
    let text = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text);
    let marked = |mark: &str| text.lines().any(|line| line.starts_with(mark));
    let is_encrypted =
        marked("-----BEGIN ENCRYPTED PRIVATE KEY") || marked("Proc-Type: 4,ENCRYPTED");
    is_encrypted.then(|| {
        let path = path.display();
        BuildError::failed(format!(
            "tls: the private key {path} is encrypted with a passphrase, which the server cannot enter; \
             store it without one (`openssl pkey -in {path} -out NEW`), readable by the server only"
        ))
    })
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
pub(super) fn do_not_fit(
    files: &CertificateFiles,
    (certificates, key): &Pair,
    error: rustls::Error,
) -> BuildError {
    let (cert, file) = (files.cert.display(), files.key.display());
    let belongs = |certificate: &CertificateDer<'static>| {
        let (chain, key) = (vec![certificate.clone()], key.clone_key());
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).is_ok()
    };
    let message = match certificates.iter().position(belongs) {
        Some(at @ 1..) => format!(
            "tls: the certificate of the key {file} is number {} in {cert}; put it first, followed by its intermediate certificates",
            at + 1
        ),
        _ => format!(
            "tls: the key {file} does not match the certificate {cert}; name the key that this certificate was issued for"
        ),
    };
    BuildError::failed(message).with_source(error)
}
