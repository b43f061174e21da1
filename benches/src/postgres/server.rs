//! The bundled server, and requests to its listeners.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::Failure;
use crate::bundled::Bundled;

/// `bench:benchmark` as basic credentials.
const CREDENTIALS: &str = "YmVuY2g6YmVuY2htYXJr";

/// Sends a request over a new connection; returns the body of the answer.
fn ask(address: &str, what: &str, headers: &str, body: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{what} HTTP/1.1\r\nHost: poa\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(head.into()) }
}

/// The bundled server. Killed on drop.
pub(crate) struct Server(Bundled);

impl Server {
    /// With a receiver `store` for this database, and these additional sections.
    pub(super) fn start(dir: &Path, url: &str, sections: &str) -> Result<Self, Failure> {
        let config = format!(
            "data_dir = \"data\"\nmetrics = [\"ethereum_metrics\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
            [auth]\nadmins = [{{ name = \"bench\", password = \"benchmark\" }}]\n\
            [handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n[handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:0\"\n\
            [receivers.store]\nkind = \"postgres\"\nurl = \"{url}\"\nsubscribe = [\"ethereum_metrics\"]\n{sections}"
        );
        Self::of(dir, &config)
    }

    /// With this configuration.
    pub(crate) fn of(dir: &Path, config: &str) -> Result<Self, Failure> {
        std::fs::write(dir.join("poa.toml"), config)?;
        Ok(Self(Bundled::start(dir)?))
    }

    /// Address and port of the plugin of this name.
    pub(crate) fn address(&self, name: &str) -> Result<String, Failure> {
        let url = self.0.url(name)?;
        Ok(url.rsplit('/').next().unwrap_or(url).to_owned())
    }

    /// A token of a user created for it.
    pub(crate) fn token(&self) -> Result<String, Failure> {
        let auth = self.address("auth")?;
        let headers =
            format!("Authorization: Basic {CREDENTIALS}\r\nContent-Type: application/json\r\n");
        let user = r#"{"user-name":"bench","password":"benchmark"}"#;
        ask(&auth, "POST /user", &headers, user)?;
        let answer: Value = serde_json::from_str(&ask(&auth, "POST /session", &headers, "{}")?)?;
        Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
    }
}

/// The backlog of a receiver, according to the admin listener at this address.
pub(super) fn backlog(admin: &str, receiver: &str) -> Result<u64, Failure> {
    let status: Value = serde_json::from_str(&ask(admin, "GET /status", "", "")?)?;
    let plugins = status["plugins"].as_array().ok_or("the status has no plugins")?;
    let found = plugins
        .iter()
        .find(|plugin| plugin["name"] == receiver)
        .ok_or("the status has no receiver")?;
    found["delivery"]["backlog_messages"].as_u64().ok_or_else(|| "the status has no backlog".into())
}
