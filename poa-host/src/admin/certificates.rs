//! The expiry of listeners' certificates.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_cert::der::Decode as _;

/// The file of a listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFile {
    /// The section that configures it: `handlers.rest`.
    plugin: String,
    file: PathBuf,
}

/// The certificates that a configuration names, and those that listeners generate in the data directory.
pub(crate) fn named(written: &Value, data_dir: &Path) -> Vec<CertificateFile> {
    let sections = ["handlers", "receivers"].into_iter().flat_map(|role| {
        let sections = written[role].as_object().into_iter().flatten();
        sections.map(move |(name, section)| (format!("{role}.{name}"), name.as_str(), section))
    });
    let admin = ("admin".to_owned(), "admin", &written["admin"]);
    let file = |(plugin, name, section): (String, &str, &Value)| {
        let file = match &section["tls"] {
            Value::String(word) if word == "self-signed" => {
                data_dir.join(format!("{name}.cert.pem"))
            }
            tls => PathBuf::from(tls["cert"].as_str()?),
        };
        Some(CertificateFile { plugin, file })
    };
    sections.chain([admin]).filter_map(file).collect()
}

/// Adds the expiry of each certificate. A file that cannot be read adds nothing.
pub(crate) fn write(text: &mut String, certificates: &[CertificateFile]) {
    let expiring = certificates.iter().filter_map(|one| Some((&one.plugin, expires(&one.file)?)));
    let mut lines = String::new();
    for (plugin, at) in expiring {
        let _ =
            writeln!(lines, "poa_certificate_expires_timestamp_seconds{{plugin={plugin:?}}} {at}");
    }
    if !lines.is_empty() {
        text.push_str(
            "# HELP poa_certificate_expires_timestamp_seconds Expiry of the certificate of a listener, in seconds since 1970.\n\
             # TYPE poa_certificate_expires_timestamp_seconds gauge\n",
        );
        text.push_str(&lines);
    }
}

/// Seconds since 1970 at which the first certificate of a file expires.
fn expires(file: &Path) -> Option<u64> {
    let first = CertificateDer::pem_file_iter(file).ok()?.next()?.ok()?;
    let certificate = x509_cert::Certificate::from_der(&first).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Created by `openssl req -x509 -newkey ed25519 -nodes -subj /CN=test -days 3650`.
    const CERTIFICATE: &str = include_str!("../../tests/fixtures/expires.cert.pem");

    #[test]
    fn the_expiry_of_each_readable_certificate_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let cert = dir.path().join("c.pem");
        std::fs::write(&cert, CERTIFICATE).unwrap();
        std::fs::write(dir.path().join("ws.cert.pem"), CERTIFICATE).unwrap();
        let written = json!({
            "admin": {"listen": "127.0.0.1:0"},
            "handlers": {
                "rest": {"tls": {"cert": cert, "key": "k"}}, "ws": {"tls": "self-signed"}, "plain": {},
            },
            "receivers": {"gone": {"tls": {"cert": "/nonexistent", "key": "k"}}},
        });
        let mut text = String::new();
        write(&mut text, &named(&written, dir.path()));
        let lines: Vec<_> = text.lines().skip(2).collect();
        let line = |plugin| {
            format!(
                "poa_certificate_expires_timestamp_seconds{{plugin=\"handlers.{plugin}\"}} 2111277346"
            )
        };
        assert_eq!(lines, [line("rest"), line("ws")]);
        let mut nothing = String::new();
        write(&mut nothing, &[]);
        assert_eq!(nothing, "");
    }
}
