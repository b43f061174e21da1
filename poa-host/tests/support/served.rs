//! A server that runs beside its test.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use poa_host::{Outcome, Server, ServerError, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A server in its own directory, controlled by messages instead of signals.
pub(crate) struct Served {
    pub(crate) folder: TempDir,
    pub(crate) admin: String,
    pub(crate) front: Option<String>,
    pub(crate) tell: mpsc::Sender<Signal>,
    pub(crate) run: JoinHandle<Result<Outcome, ServerError>>,
}

fn address(server: &Server, name: &str) -> Option<String> {
    let (_, endpoint) = server.addresses().into_iter().find(|(of, _)| of == name)?;
    Some(endpoint.split_once("://").unwrap().1.to_owned())
}

impl Served {
    pub(crate) fn serve(folder: TempDir, server: Server) -> Self {
        let admin = address(&server, "admin").unwrap();
        let front = address(&server, "front");
        let (tell, signals) = mpsc::channel(4);
        let run = tokio::spawn(server.run(signals));
        Self { folder, admin, front, tell, run }
    }

    pub(crate) async fn reload(&self, text: &str) {
        std::fs::write(self.folder.path().join("poa.toml"), text).unwrap();
        self.tell.send(Signal::Hangup).await.unwrap();
    }

    pub(crate) async fn status(&self) -> Value {
        let (_, body) = ask(&self.admin, "GET", "/status").await;
        serde_json::from_str(&body).unwrap()
    }

    /// Polls the status until it is as expected.
    pub(crate) async fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let status = self.status().await;
            if is(&status) {
                return status;
            }
        }
    }

    pub(crate) async fn stop(self) -> Outcome {
        self.tell.send(Signal::Terminate).await.unwrap();
        self.run.await.unwrap().unwrap()
    }
}

/// Sends a request without a body, and returns the status and the body of the answer.
pub(crate) async fn ask(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
