//! Asks the admin listener of a running server.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use poa_host::{ADMIN_ENDPOINT_FILE, ADMIN_TOKEN_FILE, Outline};
use serde_json::Value;

use crate::failure::Failure;

/// How long an answer may take to begin: a reload replaces the host.
const PATIENCE: Duration = Duration::from_secs(150);
/// The longest head and the longest answer that is read whole.
const MAX_HEAD: u64 = 64 << 10;
const MAX_ANSWER: u64 = 16 << 20;

/// The address of the server, and the token.
#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    token: String,
}

/// An answer whose head was read.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    body: BufReader<TcpStream>,
}

impl Client {
    /// The server of a data directory.
    ///
    /// # Errors
    /// When nothing there says that a server runs.
    pub(crate) fn of(outline: &Outline) -> Result<Self, Failure> {
        let read = |name: &str| {
            let file = outline.data_dir().join(name);
            fs::read_to_string(&file).map(|text| text.trim().to_owned()).map_err(|error| {
                let what = format!("cannot read {}, which a running server writes", file.display());
                Failure::new(what, error)
            })
        };
        let endpoint = read(ADMIN_ENDPOINT_FILE)?;
        let Some(address) = endpoint.strip_prefix("http://") else {
            return Err(Failure::because(format_args!(
                "the admin listener is at {endpoint}, and this command speaks plain HTTP only; use curl with the token from {ADMIN_TOKEN_FILE}"
            )));
        };
        Ok(Self { address: address.to_owned(), token: read(ADMIN_TOKEN_FILE)? })
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.ask("GET", path, query)
    }

    pub(crate) fn post(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        self.ask("POST", path, query)
    }

    /// The server broke off.
    pub(crate) fn lost(&self, error: impl Display) -> Failure {
        Failure::because(format_args!("lost the server at {}: {error}", self.address))
    }

    fn ask(&self, method: &str, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        // HTTP/1.0: the answer ends with the connection, and comes in no pieces to put together.
        let head = format!(
            "{method} {path}?{query} HTTP/1.0\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\n\r\n",
            self.address, self.token
        );
        let connected = TcpStream::connect(&self.address).map_err(|error| {
            Failure::new(format_args!("no server answers at {}; does it run?", self.address), error)
        });
        let mut stream = connected?;
        let sent = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.write_all(head.as_bytes()));
        sent.map_err(|error| self.lost(error))?;
        self.answer(BufReader::new(stream))
    }

    fn answer(&self, mut body: BufReader<TcpStream>) -> Result<Answer, Failure> {
        let mut head = body.by_ref().take(MAX_HEAD);
        let mut status = None;
        loop {
            let mut line = String::new();
            head.read_line(&mut line).map_err(|error| self.lost(error))?;
            status = status.or_else(|| line.split(' ').nth(1)?.parse().ok());
            if line.trim_end().is_empty() {
                break;
            }
        }
        let status = status.ok_or_else(|| self.lost("its answer is not HTTP"))?;
        let answer = Answer { status, body };
        if answer.status == 200 { Ok(answer) } else { Err(answer.refusal()) }
    }
}

impl Answer {
    /// Lines as they come, for as long as the server sends them.
    pub(crate) fn lines(self) -> Result<BufReader<TcpStream>, Failure> {
        let forever = self.body.get_ref().set_read_timeout(None);
        forever.map_err(|error| Failure::new("cannot wait for the server", error))?;
        Ok(self.body)
    }

    /// The whole answer.
    pub(crate) fn json(self) -> Result<Value, Failure> {
        serde_json::from_reader(self.body.take(MAX_ANSWER))
            .map_err(|error| Failure::new("the answer of the server is not JSON", error))
    }

    /// The reason that the server gives for refusing.
    fn refusal(self) -> Failure {
        let status = self.status;
        let said = self.json().ok().and_then(|said| said["message"].as_str().map(str::to_owned));
        Failure::because(said.unwrap_or_else(|| format!("the server answers with status {status}")))
            .with_code(if status == 422 { 2 } else { 1 })
    }
}
