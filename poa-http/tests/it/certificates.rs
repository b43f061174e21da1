//! Certificates and keys as authorities and administrators hand them out.

use std::fs;

use poa_http::{CertificateFiles, Tls};

use crate::tls::{bind, make_certificate};

/// As in <https://github.com/fluent/fluent-bit/issues/9478> and <https://github.com/influxdata/telegraf/issues/12932>: a key with a passphrase, and
/// an error about something else. Both forms that OpenSSL writes.
#[tokio::test]
async fn an_encrypted_key_is_reported_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = make_certificate(dir.path(), "given");
    for text in [
        include_str!("../fixtures/encrypted.pem"),
        include_str!("../fixtures/encrypted-traditional.pem"),
    ] {
        files.key = dir.path().join("encrypted.pem");
        fs::write(&files.key, text).unwrap();
        let error = bind(&Tls::Files(files.clone()), dir.path()).unwrap_err();
        assert!(error.contains("encrypted.pem is encrypted with a passphrase"), "{error}");
        assert!(error.contains("openssl pkey -in"), "{error}");
    }
}

/// As in <https://github.com/kubernetes/ingress-nginx/issues/7799> and <https://github.com/traefik/traefik/issues/6925>: a chain that does not begin
/// with the certificate of the server, and an error that blames the key.
#[tokio::test]
async fn a_chain_in_the_wrong_order_is_reported_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let [own, other] = ["own", "other"].map(|name| make_certificate(dir.path(), name));
    let read = |files: &CertificateFiles| fs::read_to_string(&files.cert).unwrap();
    let chain = |text: String| {
        let files = CertificateFiles { cert: dir.path().join("chain.pem"), key: own.key.clone() };
        fs::write(&files.cert, text).unwrap();
        bind(&Tls::Files(files), dir.path())
    };
    let error = chain(read(&other) + &read(&own)).unwrap_err();
    assert!(
        error.contains("own-key.pem is number 2 in") && error.contains("put it first"),
        "{error}"
    );
    let error = chain(read(&other) + &read(&other)).unwrap_err();
    assert!(error.contains("does not match the certificate"), "{error}");
    chain(read(&own) + &read(&other)).unwrap();
}
