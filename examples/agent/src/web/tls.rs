//! The trusted certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier, client,
};

use crate::{BoxError, Config, Trust};

/// Why no TLS connection could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The roots of the operating system cannot be had.
    #[error("cannot load the certificates this system trusts; name a CA file instead")]
    SystemRoots(#[source] std::io::Error),
    /// The CA file cannot be used.
    #[error("cannot take certificates from the CA file {}; it must be a readable PEM file", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The TLS library does not accept the settings.
    #[error("cannot set up TLS")]
    Library(#[from] rustls::Error),
}

type WithRoots = ConfigBuilder<ClientConfig, client::WantsClientCert>;

/// If no address uses TLS, a machine without root certificates is accepted: then no certificate is trusted.
pub(super) fn client_config(config: &Config) -> Result<ClientConfig, TlsError> {
    let uses_tls = config.server.is_tls() || config.auth.is_tls();
    let trust = uses_tls.then_some(&config.trust);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    Ok(with_trust(builder, trust, provider)?.with_no_client_auth())
}

fn with_trust(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    trust: Option<&Trust>,
    provider: Arc<CryptoProvider>,
) -> Result<WithRoots, TlsError> {
    match trust {
        None => Ok(builder.with_root_certificates(RootCertStore::empty())),
        Some(Trust::System) => builder.with_native_roots().map_err(TlsError::SystemRoots),
        Some(Trust::CaFile(path)) => Ok(builder.with_root_certificates(roots_from(path)?)),
        Some(Trust::Insecure) => {
            tracing::warn!(
                "TLS CERTIFICATES ARE NOT CHECKED: an attacker on the network can read the password"
            );
            Ok(builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))))
        }
    }
}

fn roots_from(path: &Path) -> Result<RootCertStore, TlsError> {
    let refuse = |source: BoxError| TlsError::CaFile { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.into()))? {
        let certificate = certificate.map_err(|error| refuse(error.into()))?;
        roots.add(certificate).map_err(|error| refuse(error.into()))?;
    }
    if roots.is_empty() { Err(refuse("it holds no certificate".into())) } else { Ok(roots) }
}

/// Believes any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
