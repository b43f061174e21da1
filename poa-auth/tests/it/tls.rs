//! Over HTTPS, with the certificate that is created on the first start.

use std::sync::Arc;

use poa_core::auth::Authenticator as _;
use poa_http::Tls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Request, Served, add};

fn connector(served: &Served) -> TlsConnector {
    let certificate = served.dir.path().join("auth.cert.pem");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn a_session_over_https() {
    let served = Served::start_with(Some(Tls::SelfSigned), |_| ()).await;
    add(&served.auth, "alice", "alicepassword").await;
    let endpoint = served.host.handle().status().plugins[0].endpoints[0].clone();
    assert_eq!(endpoint, format!("https://{}", served.addr));
    let tcp = TcpStream::connect(served.addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector(&served).connect(name, tcp).await.unwrap();
    let request = Request::new("POST", "/session").basic("alice", "alicepassword").json("");
    let answer = request.send_over(stream).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert!(served.auth.verify(&token).is_ok());
}
