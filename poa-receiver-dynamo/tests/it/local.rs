//! A DynamoDB Local of a test's own, to be killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

use crate::common::PATIENCE;

/// A server that keeps its tables in a directory. Killed on drop.
#[derive(Debug)]
pub(crate) struct Local {
    child: Child,
}

/// A port that belongs to a test, whether a server listens there or not.
///
/// The socket is bound and never listens: the system gives the port to no other process, connections are refused, and a server that asks for
/// this very port gets it, since both allow it to be shared (`SO_REUSEADDR`).
#[derive(Debug)]
pub(crate) struct Port(TcpSocket);

impl Port {
    pub(crate) fn hold() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket)
    }

    fn number(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// The URL of the server, when it runs.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.number())
    }
}

/// The directory of `DynamoDBLocal.jar`.
fn home() -> String {
    std::env::var("POA_TEST_DYNAMODB_HOME").unwrap_or_else(|_| {
        panic!(
            "POA_TEST_DYNAMODB_HOME is not set: this test kills its server, so the one at POA_TEST_DYNAMODB is not enough; set it to the \
             directory of DynamoDBLocal.jar, or leave both out and run `cargo xtask test`"
        )
    })
}

impl Local {
    /// Starts a server and waits until it takes connections.
    pub(crate) async fn start(port: &Port, tables: &Path) -> Self {
        let java = std::env::var("POA_TEST_JAVA").unwrap_or_else(|_| "java".to_owned());
        let port = port.number();
        let mut command = Command::new(java);
        command
            .args([
                "-Xmx256m",
                "-Djava.library.path=DynamoDBLocal_lib",
                "-jar",
                "DynamoDBLocal.jar",
            ])
            .args(["-sharedDb", "-port", &port.to_string(), "-dbPath"])
            .arg(tables)
            .current_dir(home())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the server ended");
            assert!(begin.elapsed() < PATIENCE, "the server takes no connections");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self { child }
    }

    /// Kills the server at once, as `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
