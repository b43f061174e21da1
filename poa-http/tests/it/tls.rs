use std::path::{Path, PathBuf};
use std::sync::Arc;

use poa_core::config::Duration;
use poa_core::{BuildContext, MemoryBudget};
use poa_http::{CertificateFiles, Limits, Server, Tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion, crypto, version,
};

use crate::support::{Client, any_port, limits, start_with};

/// A client that trusts only this certificate.
pub(crate) fn client_config(
    cert: &Path,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    ClientConfig::builder_with_provider(crypto::aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client over TLS that uses this name for the server.
pub(crate) async fn connect(
    addr: std::net::SocketAddr,
    name: &str,
    config: ClientConfig,
) -> Client<impl AsyncRead + AsyncWrite + Unpin> {
    let tcp = TcpStream::connect(addr).await.unwrap();
    let name = name.to_owned().try_into().unwrap();
    Client::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap())
}

async fn echo(addr: std::net::SocketAddr, name: &str, config: ClientConfig) -> String {
    connect(addr, name, config).await.post("/echo", "secret").await.body
}

pub(crate) fn make_certificate(dir: &Path, name: &str) -> CertificateFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let file = |what| dir.join(format!("{name}-{what}.pem"));
    let files = CertificateFiles { cert: file("cert"), key: file("key") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

pub(crate) fn bind(tls: &Tls, data_dir: &Path) -> Result<Server, String> {
    let cx = BuildContext::detached("test", data_dir);
    Server::bind(any_port(), Some(tls), Limits::default(), &cx).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

#[tokio::test]
async fn a_self_signed_certificate_is_created_once_and_serves_both_versions() {
    let server = start_with(Limits::default(), Some(&Tls::SelfSigned), MemoryBudget::new(1 << 20));
    let cert = server.dir.path().join("test.cert.pem");
    for name in ["localhost", "127.0.0.1", "::1"] {
        for version in [&version::TLS12, &version::TLS13] {
            assert_eq!(echo(server.addr, name, client_config(&cert, version)).await, "secret");
        }
    }
    let made = std::fs::read(&cert).unwrap();
    let again = bind(&Tls::SelfSigned, server.dir.path()).unwrap();
    assert!(again.endpoint().starts_with("https://127.0.0.1:"));
    assert_eq!(std::fs::read(&cert).unwrap(), made);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    bind(&Tls::SelfSigned, dir.path()).unwrap();
    let mode = std::fs::metadata(dir.path().join("test.key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
}

#[tokio::test]
async fn an_interrupted_start_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("test.key.pem"), "half").unwrap();
    bind(&Tls::SelfSigned, dir.path()).unwrap();
}

#[tokio::test]
async fn a_given_certificate_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_certificate(dir.path(), "given");
    let tls = Tls::Files(files.clone());
    let server = start_with(Limits::default(), Some(&tls), MemoryBudget::new(1 << 20));
    let config = client_config(&files.cert, &version::TLS13);
    assert_eq!(echo(server.addr, "localhost", config).await, "secret");
}

#[tokio::test]
async fn unusable_files_are_reported_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (make_certificate(dir.path(), "one"), make_certificate(dir.path(), "two"));
    let fails = |cert: &PathBuf, key: &PathBuf| {
        let files = CertificateFiles { cert: cert.clone(), key: key.clone() };
        bind(&Tls::Files(files), dir.path()).unwrap_err()
    };
    let error = fails(&one.cert, &two.key);
    let expected = format!(
        "tls: the key {} does not match the certificate {}; name the key that this certificate was issued for",
        two.key.display(),
        one.cert.display()
    );
    assert!(error.starts_with(&expected), "{error}");

    let error = fails(&dir.path().join("none.pem"), &one.key);
    assert!(
        error.contains("no certificate from") && error.contains("none.pem: it cannot be read"),
        "{error}"
    );

    let error = fails(&one.cert, &one.cert);
    assert!(error.contains("it holds no private key in PEM; name the right file"), "{error}");

    let error = fails(&one.key, &one.key);
    assert!(error.contains("it holds no certificate in PEM"), "{error}");
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_cut_off() {
    let limits = limits(|limits| {
        limits.header_timeout = Duration::from_millis(200);
        limits.idle_timeout = Duration::from_secs(3600);
    });
    let server = start_with(limits, Some(&Tls::SelfSigned), MemoryBudget::new(1 << 20));
    let mut silent = server.client().await;
    let cert = server.dir.path().join("test.cert.pem");
    let config = client_config(&cert, &version::TLS13);
    assert_eq!(echo(server.addr, "localhost", config).await, "secret");
    assert_eq!(silent.end().await, "");
    assert!(server.counts(r#"poa_http_tls_failures_total{handler="test"} 1"#));
}
