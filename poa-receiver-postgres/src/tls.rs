//! Encrypts the connection to the server.

mod certificate;
mod verifier;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::location::{Authorities, Tls, Trust};
use verifier::{Checks, Verifier};

/// Creates the connector for encrypted connections. Reads the files that it names, so that a renewed certificate is used with the next
/// connection. Blocks.
///
/// # Errors
/// A text that names the file that cannot be used.
pub(crate) fn connector(tls: &Tls) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new(checks(tls, &provider)?, &provider);
    let versions = [(tls.versions.tls13, &TLS13), (tls.versions.tls12, &TLS12)];
    let versions: Vec<_> =
        versions.into_iter().filter_map(|(wanted, version)| wanted.then_some(version)).collect();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("sslcert", certificate)?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| unusable("sslkey", key, "a key without a passphrase", &error))?;
            config
                .with_client_auth_cert(chain, private)
                .map_err(|error| unusable("sslkey", key, "the key of `sslcert`", &error))?
        }
    };
    config.enable_sni = tls.names_host;
    Ok(MakeRustlsConnect::new(config))
}

fn checks(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Checks, String> {
    let (authorities, named) = match &tls.trust {
        Trust::Anybody => return Ok(Checks::Nothing),
        Trust::Signed(authorities) => (authorities, false),
        Trust::Named(authorities) => (authorities, true),
    };
    let trusted = match authorities {
        Authorities::System => rustls_native_certs::load_native_certs().certs,
        Authorities::File(path) => certificates("sslrootcert", path)?,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(trusted.iter().cloned());
    if added == 0 {
        return Err(
            "no authority to check the server's certificate with; name a file of PEM as `sslrootcert`".into(),
        );
    }
    let mut builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(path) = &tls.revoked {
        builder = builder.with_crls(revoked(path)?);
    }
    let chain = builder.build().map_err(|error| format!("`sslcrl` cannot be used: {error}"))?;
    Ok(Checks::Certificate { chain, trusted, named })
}

fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let failed =
        |error: &dyn Display| unusable("sslcrl", path, "lists of revoked certificates", error);
    let lists =
        CertificateRevocationListDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    lists.collect::<Result<_, _>>().map_err(|error| failed(&error))
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: &dyn Display| unusable(option, path, "certificates", error);
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    found.collect::<Result<_, _>>().map_err(|error| failed(&error))
}

fn unusable(option: &str, path: &Path, holds: &str, error: &dyn Display) -> String {
    format!("`{option}` {} cannot be used: {error}; it must hold {holds} in PEM", path.display())
}
