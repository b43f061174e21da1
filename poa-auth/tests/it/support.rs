//! An `Auth` in a directory of its own, a host that serves it, and a client for raw requests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poa_auth::{AdminConfig, Auth, AuthConfig, AuthHandler, AuthHandlerConfig, HashCost, NewUser};
use poa_core::config::Secret;
use poa_core::{Host, Timestamp};
use poa_http::Tls;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The address of the tests.
pub(crate) const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
pub(crate) const ADMIN: (&str, &str) = ("admin1", "password12345678");

pub(crate) fn config() -> AuthConfig {
    let mut config = AuthConfig::default();
    config.secret_key = Some(Secret::new(KEY));
    config.admins =
        vec![AdminConfig::new(ADMIN.0, ADMIN.1), AdminConfig::new("admin2", "password87654321")];
    config.hash_cost = HashCost::for_tests();
    config
}

pub(crate) fn open(dir: &Path) -> Auth {
    Auth::open(config(), dir).unwrap()
}

/// An `Auth` without users.
pub(crate) fn empty() -> (TempDir, Auth) {
    let dir = tempfile::tempdir().unwrap();
    let auth = open(dir.path());
    (dir, auth)
}

pub(crate) fn user(name: &str, password: &str) -> NewUser {
    NewUser { name: Some(name.to_owned()), password: Some(Secret::new(password)), agent: None }
}

pub(crate) async fn add(auth: &Auth, name: &str, password: &str) {
    auth.add_user(user(name, password)).await.unwrap();
}

pub(crate) fn now() -> i64 {
    i64::try_from(Timestamp::now().as_micros() / 1_000_000).unwrap()
}

/// Claims that are valid for an hour from now.
pub(crate) fn claims(user: &str) -> Value {
    json!({
        "aud": "poa_backend", "iss": "poa_backend", "typ": "access", "sub": user,
        "jti": "00000000-0000-4000-8000-000000000000",
        "iat": now(), "nbf": now() - 1, "exp": now() + 3600,
    })
}

pub(crate) fn sign(header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(KEY.as_bytes())).unwrap()
}

pub(crate) fn sign_512(claims: &Value) -> String {
    sign(&Header::new(Algorithm::HS512), claims)
}

/// The value of an `Authorization` header.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A host that serves the endpoints.
pub(crate) struct Served {
    pub(crate) auth: Auth,
    pub(crate) addr: SocketAddr,
    pub(crate) dir: TempDir,
    pub(crate) host: Host,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(None, |_| ()).await
    }

    pub(crate) async fn start_with(
        tls: Option<Tls>,
        change: impl FnOnce(&mut AuthHandlerConfig),
    ) -> Self {
        Self::start_all(crate::support::config(), tls, change).await
    }

    /// With this configuration of users and admins.
    pub(crate) async fn start_as(config: AuthConfig) -> Self {
        Self::start_all(config, None, |_| ()).await
    }

    async fn start_all(
        users: AuthConfig,
        tls: Option<Tls>,
        change: impl FnOnce(&mut AuthHandlerConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth::open(users, dir.path()).unwrap();
        let mut config = AuthHandlerConfig::default();
        config.listen = ([127, 0, 0, 1], 0).into();
        config.tls = tls;
        change(&mut config);
        let host = Host::builder()
            .engine::<poa_engine_local::Memory>("memory", Default::default())
            .data_dir(dir.path())
            .data_types(["system_metrics"])
            .authenticator(Arc::new(auth.clone()))
            .resource(auth.clone())
            .handler::<AuthHandler>("auth", config)
            .start()
            .await
            .unwrap();
        let endpoint = host.handle().status().plugins[0].endpoints[0].clone();
        let addr = endpoint.rsplit_once('/').unwrap().1.parse().unwrap();
        Self { auth, addr, dir, host }
    }

    /// Sends a request of an admin.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        Request::new(method, path).admin().json(body).send(self.addr).await
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    head: String,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            head: format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n"),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        self.header("authorization", &basic(user, password))
    }

    pub(crate) fn admin(self) -> Self {
        self.basic(ADMIN.0, ADMIN.1)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) async fn send(self, addr: SocketAddr) -> Answer {
        self.send_over(TcpStream::connect(addr).await.unwrap()).await
    }

    pub(crate) async fn send_over(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Answer {
        let mut bytes = self.head.into_bytes();
        if let Some(body) = &self.body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.unwrap_or_default());
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&String::from_utf8(answer).unwrap())
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}
