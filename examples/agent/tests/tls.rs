//! The certificates that the agent trusts.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::sync::Arc;

use poa_agent::{Config, ErrorChain, Rest, Session, TlsError, Transport, Trust};
use rcgen::CertifiedKey;
use rustls::crypto::aws_lc_rs;
use support::{FakeServer, all_well};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

/// A server with a certificate of its own making, and that certificate in a file.
async fn self_signed() -> (FakeServer, NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cert.pem()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], signing_key.into())
        .unwrap();
    (FakeServer::start_with(all_well, Some(TlsAcceptor::from(Arc::new(tls)))).await, file)
}

fn config(server: &FakeServer, trust: Trust) -> Config {
    let mut config = support::config(format!("https://{}", server.address).parse().unwrap());
    config.trust = trust;
    config
}

#[tokio::test]
async fn a_certificate_in_the_ca_file_is_believed() {
    let (server, file) = self_signed().await;
    let rest = Rest::new(&config(&server, Trust::CaFile(file.path().into()))).unwrap();
    rest.ping().await.unwrap();
    assert_eq!(server.calls("/ping")[0].authorization, "Bearer token-0");
}

#[tokio::test]
async fn the_certificate_of_another_server_is_not() {
    let (server, _) = self_signed().await;
    let (_other, file) = self_signed().await;
    let rest = Rest::new(&config(&server, Trust::CaFile(file.path().into()))).unwrap();
    let failure = rest.connect().await.unwrap_err();
    let told = ErrorChain(&failure).to_string();
    assert!(told.contains("certificate"), "{told}");
    assert!(server.calls("/session").is_empty(), "the password was sent to a stranger");
}

#[tokio::test]
async fn any_certificate_will_do_only_when_told_so() {
    let (server, _) = self_signed().await;
    Rest::new(&config(&server, Trust::Insecure)).unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_named() {
    let (server, _) = self_signed().await;
    let empty = NamedTempFile::new().unwrap();
    for path in [empty.path(), "does/not/exist.pem".as_ref()] {
        let error = Session::new(&config(&server, Trust::CaFile(path.into()))).unwrap_err();
        assert!(matches!(error, TlsError::CaFile { .. }));
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
