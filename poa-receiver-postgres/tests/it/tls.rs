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
async fn sslmode_encrypts_and_checks_as_documented() {
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
async fn a_certificate_that_does_not_match_is_refused() {
    let server = Secure::start();
    for (host, options, why) in [
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/other.pem",
            "check `sslmode`, `sslrootcert`",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-ca&sslrootcert=DIR/other.pem",
            "check `sslmode`, `sslrootcert`",
        ),
        (
            "127.0.0.1",
            "sslmode=require&sslrootcert=DIR/other.pem",
            "check `sslmode`, `sslrootcert`",
        ),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert=DIR/ours.pem",
            "check `sslmode`, `sslrootcert`",
        ),
        ("localhost", "sslmode=verify-full&sslrootcert=system", "check `sslmode`, `sslrootcert`"),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=DIR/missing.pem",
            "missing.pem cannot be used",
        ),
        ("localhost", "sslmode=verify-full&sslrootcert=DIR/none.pem", "no authority to check"),
    ] {
        match build(server.url(host, options)).await.unwrap_err() {
            BuildError::Unavailable(message, _) => {
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
        matches!(&error, BuildError::Unavailable(message, _) if message.contains("server does not support TLS")),
        "{error:?}"
    );
}

/// The authority's own certificate may be that of the server: as PostgreSQL's manual creates it, and
/// <https://github.com/jbg/tokio-postgres-rustls/issues/23>.
#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_trusted() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let server = Files::serve(&certificate.pem(), &key.serialize_pem(), &certificate.pem());
    for (host, mode) in
        [("127.0.0.1", "require"), ("127.0.0.1", "verify-ca"), ("localhost", "verify-full")]
    {
        drop(
            build(server.url(host, &format!("sslmode={mode}&sslrootcert=DIR/root.pem")))
                .await
                .unwrap(),
        );
    }
    let error =
        build(server.url("127.0.0.1", "sslmode=verify-full&sslrootcert=DIR/root.pem")).await;
    assert!(error.unwrap_err().to_string().contains("check `sslmode`"));
}

#[tokio::test]
async fn a_self_signed_certificate_that_has_expired_is_not_trusted() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let server = Files::serve(&certificate.pem(), &key.serialize_pem(), &certificate.pem());
    let error = build(server.url("localhost", "sslmode=verify-ca&sslrootcert=DIR/root.pem")).await;
    assert!(error.unwrap_err().to_string().contains("xpired"));
}

/// Names in the subject only, and version 1, which `openssl x509 -req` creates.
#[tokio::test]
async fn traditional_certificates_are_accepted() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let named = params.signed_by(&key, &authority).unwrap();
    let fixture =
        |name: &str| std::fs::read_to_string(format!("tests/fixtures/tls/{name}")).unwrap();
    let old = (fixture("version_1.pem"), fixture("version_1.key"), fixture("authority.pem"));
    for (certificate, key, root) in [(named.pem(), key.serialize_pem(), authority.pem()), old] {
        let server = Files::serve(&certificate, &key, &root);
        for versions in ["", "&ssl_max_protocol_version=TLSv1.2"] {
            let options = format!("sslmode=verify-full&sslrootcert=DIR/root.pem{versions}");
            drop(build(server.url("localhost", &options)).await.unwrap());
            drop(
                build(server.url("localhost", &format!("sslmode=require{versions}")))
                    .await
                    .unwrap(),
            );
            let error = build(server.url("127.0.0.1", &options)).await.unwrap_err().to_string();
            assert!(
                error.contains("not valid for name") || error.contains("NotValidForName"),
                "{error}"
            );
        }
        std::fs::write(server.dir.path().join("root.pem"), self::authority().pem()).unwrap();
        let options = "sslmode=verify-ca&sslrootcert=DIR/root.pem";
        assert!(build(server.url("localhost", options)).await.is_err());
    }
}

/// As in <https://github.com/jbg/tokio-postgres-rustls/issues/4>: hosted databases ask for the certificate of the client.
#[tokio::test]
async fn a_client_sends_its_certificate_and_uses_a_renewed_one_when_it_reconnects() {
    let authority = authority();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
    };
    let (certificate, key) = signed("server");
    let setup = Setup::default()
        .tcp()
        .tls(&certificate, &key)
        .authorities(&authority.pem())
        .rules("hostssl all all 127.0.0.1/32 cert\n");
    let server = Files::with(setup, &authority.pem());
    let options =
        "sslmode=verify-full&sslrootcert=DIR/root.pem&sslcert=DIR/client.pem&sslkey=DIR/client.key";
    let write = |name: &str| {
        let (certificate, key) = signed(name);
        std::fs::write(server.dir.path().join("client.pem"), certificate).unwrap();
        std::fs::write(server.dir.path().join("client.key"), key).unwrap();
    };
    let error = build(server.url("localhost", options)).await.unwrap_err().to_string();
    assert!(error.contains("`sslcert`") && error.contains("client.pem cannot be used"), "{error}");
    write("somebody");
    let error = build(server.url("localhost", options)).await.unwrap_err().to_string();
    assert!(error.contains("certificate authentication failed"), "{error}");
    write("postgres");
    drop(build(server.url("localhost", options)).await.unwrap());
}

/// A server may offer TLS and have a rule for connections without it, or vice versa.
#[tokio::test]
async fn weak_modes_try_the_alternative_if_no_rule_matches() {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    for rule in ["hostnossl all all 127.0.0.1/32 trust\n", "hostssl all all 127.0.0.1/32 trust\n"] {
        let setup =
            Setup::default().tcp().tls(&certificate.pem(), &key.serialize_pem()).rules(rule);
        let server = Files::with(setup, "");
        for mode in ["prefer", "allow"] {
            let built = build(server.url("127.0.0.1", &format!("sslmode={mode}"))).await;
            assert!(built.is_ok(), "{rule} {mode}: {built:?}");
        }
    }
}

/// A server, and the files that its clients name.
struct Files {
    cluster: Cluster,
    dir: TempDir,
}

impl Files {
    fn serve(certificate: &str, key: &str, root: &str) -> Self {
        Self::with(Setup::default().tcp().tls(certificate, key), root)
    }

    fn with(setup: Setup, root: &str) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("root.pem"), root).unwrap();
        Self { cluster: Cluster::start(setup).unwrap(), dir }
    }

    fn url(&self, host: &str, options: &str) -> String {
        let dir = self.dir.path().display().to_string();
        let url = self.cluster.url("postgres").replace("127.0.0.1", host);
        format!("{url}?{}", options.replace("DIR", &dir))
    }
}
