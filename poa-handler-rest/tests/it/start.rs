use std::sync::Arc;

use poa_core::Host;
use poa_handler_rest::{Config, Rest};
use poa_http::Tls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::support::{any_port, start, start_with};

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

async fn refused(config: Config) -> String {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_dir(dir.path())
        .handler::<Rest>("rest", config);
    chain(&host.start().await.unwrap_err())
}

#[tokio::test]
async fn a_port_in_use_is_reported() {
    let server = start().await;
    let addr = server.addr;
    let mut config = Config::listen(addr);
    config.anonymous = true;
    assert_eq!(
        refused(config).await,
        format!(
            "handlers.rest: cannot listen on {addr}: address already in use; \
             is another server running? choose another port with `listen`"
        )
    );
}

#[tokio::test]
async fn an_embedder_cannot_be_anonymous_in_public() {
    let mut config = Config::listen(([0, 0, 0, 0], 0));
    config.anonymous = true;
    let error = refused(config).await;
    assert!(
        error.contains("anonymous: would let every client that can connect to 0.0.0.0:0 send data"),
        "{error}"
    );
}

#[tokio::test]
async fn anonymous_needs_no_token() {
    let mut config = any_port();
    config.anonymous = true;
    let mut server = start_with(config, |host| host, 64 << 20).await;
    let mut client = server.client().await;
    let body = crate::support::metric("anybody", "{}");
    client
        .send(format!(
            "POST /data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(server.message().await.agent_id().as_str(), "anybody");
}

#[tokio::test]
async fn anonymous_mode_refuses_web_pages() {
    let mut config = any_port();
    config.anonymous = true;
    let server = start_with(config, |host| host, 64 << 20).await;
    let page =
        "host: x\r\norigin: http://x\r\ncontent-type: application/json\r\ncontent-length: 10";
    let mut client = server.client().await;
    client.send(format!("POST /ping HTTP/1.1\r\n{page}\r\n\r\n{}", r#"{"id":"a"}"#)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &*answer.code()), (403, "from_page"));
    // Before it sends JSON to another origin, a browser sends a preflight request; it is refused
    // here.
    client.send(format!("OPTIONS /ping HTTP/1.1\r\n{page}\r\n\r\n0123456789")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 405);
    assert!(!answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
}

#[tokio::test]
async fn without_an_authenticator_no_client_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .engine::<poa_engine_local::Memory>("memory", Default::default())
        .data_dir(dir.path())
        .handler::<Rest>("rest", any_port());
    let error = chain(&host.start().await.unwrap_err());
    assert!(
        error.contains("there is no authenticator to check tokens: give the host one"),
        "{error}"
    );
}

#[tokio::test]
async fn serves_over_tls() {
    let mut config = any_port();
    config.tls = Some(Tls::SelfSigned);
    let server = start_with(config, |host| host, 64 << 20).await;
    let mut roots = RootCertStore::empty();
    let cert = server.dir.path().join("rest.cert.pem");
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect("127.0.0.1".try_into().unwrap(), tcp).await.unwrap();
    let mut client = crate::support::Client::new(stream);
    assert_eq!(client.post("/ping", r#"{"id":"a"}"#).await.status, 200);
    assert!(server.host.handle().status().plugins[0].endpoints[0].starts_with("https://"));
}
