//! The parts of a certificate that `webpki` does not read: names in its subject, and certificates of version 1.

use std::net::IpAddr;
use std::time::Duration;

use rustls::DigitallySignedStruct;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_cert::{Certificate, Version};

/// The attribute of a subject that contains a host, in certificates that have no other name.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A certificate that was read.
#[derive(Debug)]
pub(super) struct Read(Certificate);

impl Read {
    /// `None` if it cannot be parsed.
    pub(super) fn new(certificate: &CertificateDer<'_>) -> Option<Self> {
        Certificate::from_der(certificate).ok().map(Self)
    }

    /// Whether it has no extensions, as `openssl x509 -req` without an extension file still creates them.
    pub(super) fn is_version_1(&self) -> bool {
        self.0.tbs_certificate.version == Version::V1
    }

    /// Whether it is valid at this time.
    pub(super) fn is_valid_at(&self, now: UnixTime) -> bool {
        let validity = &self.0.tbs_certificate.validity;
        let now = Duration::from_secs(now.as_secs());
        validity.not_before.to_unix_duration() <= now
            && now <= validity.not_after.to_unix_duration()
    }

    /// Whether it is for this host. As in libpq, the subject counts if there is no other name.
    pub(super) fn is_for(&self, host: &ServerName<'_>) -> bool {
        let names = self.0.tbs_certificate.get::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        let counts = |name: &GeneralName| {
            matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_))
        };
        if names.iter().any(counts) {
            return names.iter().any(|name| is_named(name, host));
        }
        self.common_names().any(|name| is_written(&name, host))
    }

    fn common_names(&self) -> impl Iterator<Item = String> {
        let attributes = self.0.tbs_certificate.subject.0.iter().flat_map(|name| name.0.iter());
        attributes.filter(|attribute| attribute.oid == COMMON_NAME).filter_map(|attribute| {
            let value = &attribute.value;
            match value.tag() {
                Tag::Utf8String => {
                    value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.to_string())
                }
                Tag::PrintableString => {
                    value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.to_string())
                }
                Tag::Ia5String => {
                    value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.to_string())
                }
                _ => None,
            }
        })
    }

    /// Whether another certificate signed this one.
    pub(super) fn is_signed_by(
        &self,
        issuer: &Self,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        if self.0.tbs_certificate.issuer != issuer.0.tbs_certificate.subject {
            return false;
        }
        let (Ok(signed), Some(signature)) =
            (self.0.tbs_certificate.to_der(), self.0.signature.as_bytes())
        else {
            return false;
        };
        let used = contents(&self.0.signature_algorithm);
        algorithms
            .all
            .iter()
            .filter(|known| used.as_deref() == Some(known.signature_alg_id().as_ref()))
            .any(|known| issuer.verifies(*known, &signed, signature))
    }

    /// Whether the holder of the key made the signature of a TLS 1.2 handshake.
    pub(super) fn verifies_handshake(
        &self,
        message: &[u8],
        signature: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        let mapped = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme);
        mapped
            .flat_map(|(_, known)| known.iter())
            .any(|known| self.verifies(*known, message, signature.signature()))
    }

    /// The key, in the form that TLS 1.3 uses.
    pub(super) fn public_key(&self) -> Option<Vec<u8>> {
        self.0.tbs_certificate.subject_public_key_info.to_der().ok()
    }

    fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let key = &self.0.tbs_certificate.subject_public_key_info;
        let fits =
            contents(&key.algorithm).as_deref() == Some(algorithm.public_key_alg_id().as_ref());
        let bits = key.subject_public_key.as_bytes();
        fits && bits
            .is_some_and(|bits| algorithm.verify_signature(bits, message, signature).is_ok())
    }
}

/// An identifier of an algorithm without the header of its sequence, as `pki-types` compares it.
fn contents(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let mut contents = algorithm.oid.to_der().ok()?;
    if let Some(parameters) = &algorithm.parameters {
        contents.extend(parameters.to_der().ok()?);
    }
    Some(contents)
}

fn is_named(name: &GeneralName, host: &ServerName<'_>) -> bool {
    match (name, host) {
        (GeneralName::DnsName(name), ServerName::DnsName(host)) => {
            matches_pattern(name.as_str(), host.as_ref())
        }
        (GeneralName::IpAddress(bytes), ServerName::IpAddress(host)) => match IpAddr::from(*host) {
            IpAddr::V4(host) => bytes.as_bytes() == host.octets(),
            IpAddr::V6(host) => bytes.as_bytes() == host.octets(),
        },
        _ => false,
    }
}

fn is_written(name: &str, host: &ServerName<'_>) -> bool {
    match host {
        ServerName::DnsName(host) => matches_pattern(name, host.as_ref()),
        ServerName::IpAddress(host) => name.parse() == Ok(IpAddr::from(*host)),
        _ => false,
    }
}

/// Whether a host matches a pattern: equal except for case, or with a `*` in place of its first label.
fn matches_pattern(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(pattern), Some((label, rest))) = (pattern.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && pattern.contains('.') && pattern.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_matches_one_label() {
        for (pattern, host, expected) in [
            ("DB.example.org", "db.Example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.db.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("*", "db", false),
            ("db.example.org", "db2.example.org", false),
        ] {
            assert_eq!(matches_pattern(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn a_subject_may_be_an_address() {
        let host = ServerName::try_from("::1").unwrap();
        assert!(is_written("0:0:0:0:0:0:0:1", &host) && !is_written("localhost", &host));
    }
}
