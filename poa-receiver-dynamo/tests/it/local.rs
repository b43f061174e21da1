//! A DynamoDB Local of a test's own, to be killed.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::common::{PATIENCE, variable};

/// A server that keeps its tables in a directory. Killed on drop.
#[derive(Debug)]
pub(crate) struct Local {
    child: Child,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Local {
    /// Starts a server and waits until it takes connections.
    pub(crate) async fn start(port: u16, tables: &Path) -> Self {
        let mut command = Command::new(variable("POA_TEST_JAVA"));
        command
            .args([
                "-Xmx256m",
                "-Djava.library.path=DynamoDBLocal_lib",
                "-jar",
                "DynamoDBLocal.jar",
            ])
            .args(["-sharedDb", "-port", &port.to_string(), "-dbPath"])
            .arg(tables)
            .current_dir(variable("POA_TEST_DYNAMODB_HOME"))
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
