//! Checks the certificate of the server as libpq does.
//!
//! `webpki` is stricter in three ways, and certificates in use violate each of them: it accepts no certificate of an authority as that of a
//! server, not even the one in `sslrootcert`; it does not read names in a subject; and it supports only version 3.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::Read;

/// The checks to make.
#[derive(Debug)]
pub(super) enum Checks {
    /// Only that the server has the key of its certificate.
    Nothing,
    Certificate {
        chain: Arc<WebPkiServerVerifier>,
        /// The certificates that are trusted.
        trusted: Vec<CertificateDer<'static>>,
        /// Whether it has to be for the host in the URL.
        named: bool,
    },
}

/// Checks the certificate of a server.
#[derive(Debug)]
pub(super) struct Verifier {
    checks: Checks,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(checks: Checks, provider: &CryptoProvider) -> Self {
        Self { checks, algorithms: provider.signature_verification_algorithms }
    }

    /// Whether one of the trusted certificates signed this one of version 1, or is it.
    fn is_trusted(
        &self,
        certificate: &CertificateDer<'_>,
        read: &Read,
        trusted: &[CertificateDer<'_>],
    ) -> bool {
        let signed_by = |issuer: &CertificateDer<'_>| {
            let issuer = Read::new(issuer);
            issuer.is_some_and(|issuer| read.is_signed_by(&issuer, &self.algorithms))
        };
        trusted.iter().any(|known| known == certificate)
            || (read.is_version_1() && trusted.iter().any(signed_by))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Checks::Certificate { chain, trusted, named } = &self.checks else {
            return Ok(ServerCertVerified::assertion());
        };
        let refused = |why| Err(Error::InvalidCertificate(why));
        let Some(read) = Read::new(end_entity) else {
            return refused(CertificateError::BadEncoding);
        };
        if self.is_trusted(end_entity, &read, trusted) {
            if !read.is_valid_at(now) {
                return refused(CertificateError::Expired);
            }
        } else {
            use CertificateError::{NotValidForName, NotValidForNameContext};
            // The name is checked last there, and again below.
            match chain.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ) {
                Ok(_)
                | Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) =>
                    {}
                Err(error) => return Err(error),
            }
        }
        if *named && !read.is_for(server_name) {
            return refused(CertificateError::NotValidForName);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match Read::new(certificate).filter(Read::is_version_1) {
            None => verify_tls12_signature(message, certificate, signature, &self.algorithms),
            Some(read) if read.verifies_handshake(message, signature, &self.algorithms) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            Some(_) => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let read = Read::new(certificate).filter(Read::is_version_1);
        match read.and_then(|read| read.public_key()) {
            None => verify_tls13_signature(message, certificate, signature, &self.algorithms),
            Some(key) => {
                let key = SubjectPublicKeyInfoDer::from(key);
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
