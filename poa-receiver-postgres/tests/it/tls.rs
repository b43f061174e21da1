//! `sslmode`, against a server with a certificate.

use poa_core::{BuildContext, BuildError, Plugin};
use poa_receiver_postgres::{Config, Postgres};
use poa_test_postgres::{Cluster, Setup};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::common::{Database, connect};

/// A server with a certificate for `localhost`, and the files of its authority and of another one.
struct Secure {
    cluster: Cluster,
    dir: TempDir,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Secure {
    fn start() -> Self {
        let (ours, other) = (authority(), authority());
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &ours)
            .unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ours.pem"), ours.pem()).unwrap();
        std::fs::write(dir.path().join("other.pem"), other.pem()).unwrap();
        std::fs::write(dir.path().join("none.pem"), "").unwrap();
        let cluster =
            Cluster::start(Setup::default().tcp().tls(&certificate.pem(), &key.serialize_pem()))
                .unwrap();
        Self { cluster, dir }
    }

    fn url(&self, host: &str, options: &str) -> String {
        let dir = self.dir.path().display().to_string();
        let url = self.cluster.url("postgres").replace("127.0.0.1", host);
        format!("{url}?{}", options.replace("DIR", &dir))
    }
}

async fn build(url: String) -> Result<Postgres, BuildError> {
    Postgres::build(Config::new(url), &BuildContext::detached("store", std::env::temp_dir())).await
}

#[tokio::test]
async fn sslmode_encrypts_and_checks_as_it_says() {
    let server = Secure::start();
    let watcher = connect(&server.cluster.url("postgres")).await;
    let encrypted = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'poa store'";
    for (host, options, expected) in [
        ("127.0.0.1", "sslmode=disable", false),
        ("127.0.0.1", "", true),
        ("127.0.0.1", "sslmode=require", true),
        ("127.0.0.1", "sslmode=require&sslrootcert=DIR/ours.pem", true),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=DIR/ours.pem", true),
        ("localhost", "sslmode=verify-full&sslrootcert=DIR/ours.pem", true),
    ] {
        let receiver = build(server.url(host, options))
            .await
            .unwrap_or_else(|error| panic!("{options}: {error:?}"));
        let row = watcher.query_one(encrypted, &[]).await.unwrap();
        assert_eq!(row.get::<_, bool>(0), expected, "{options}");
        let mut receiver = receiver;
        poa_core::Receiver::terminate(&mut receiver).await;
        until_gone(&watcher).await;
    }
}

/// The server takes a moment to notice that a connection is closed.
async fn until_gone(watcher: &tokio_postgres::Client) {
    let gone = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'poa store'";
    watcher.execute(gone, &[]).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused() {
    let server = Secure::start();
    for (host, options, why) in [
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/other.pem",
            "check `sslmode` and `sslrootcert`",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/other.pem",
            "check `sslmode` and `sslrootcert`",
        ),
        (
            "127.0.0.1",
            "sslmode=require&sslrootcert=DIR/other.pem",
            "check `sslmode` and `sslrootcert`",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=DIR/ours.pem",
            "check `sslmode` and `sslrootcert`",
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=system",
            "check `sslmode` and `sslrootcert`",
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/missing.pem",
            "missing.pem cannot be used",
        ),
        ("localhost", "sslmode=verify-full&sslrootcert=DIR/none.pem", "no authority to check"),
    ] {
        match build(server.url(host, options)).await.unwrap_err() {
            BuildError::Failed(message, _) => {
                assert!(message.contains(why), "{options}: {message}")
            }
            error => panic!("{options}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_it_is_required() {
    let database = Database::shared().await;
    let error = build(format!("{}?sslmode=require", database.url)).await.unwrap_err();
    assert!(
        matches!(&error, BuildError::Failed(message, _) if message.contains("server does not support TLS")),
        "{error:?}"
    );
}
