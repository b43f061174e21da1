//! A shell command as a handler.

use std::process::Stdio;

use poa_core::async_trait;
use poa_gilmour::{Call, Data, FAILED, Handler, Message};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The exit code of a command that refuses the data for good (`EX_DATAERR`), and the code of the reply then.
const REFUSES: i32 = 65;
const REFUSED: i64 = 422;

/// Runs a command for each call: the data on its standard input, the answer on its standard output.
pub(super) struct Exec(String);

impl Exec {
    pub(super) fn new(command: &str) -> Self {
        Self(command.to_owned())
    }

    async fn run(&self, call: &Call) -> std::io::Result<Message> {
        let mut child = Command::new("sh")
            .args(["-c", &self.0])
            .env("GILMOUR_TOPIC", &*call.topic)
            .env("GILMOUR_SENDER", &*call.sender)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // When the time of the call is over, so is the command.
            .kill_on_drop(true)
            .spawn()?;
        let text = call.data.read::<String>().unwrap_or_else(|_| call.data.json().to_owned());
        let input = child.stdin.take();
        let feed = async {
            if let Some(mut input) = input {
                // A command that reads nothing has closed it.
                let _ = input.write_all(text.as_bytes()).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.trim_end_matches('\n');
        let data = Data::parse(said).unwrap_or_else(|_| Data::text(said));
        Ok(match output.status.code() {
            Some(0) => Message::ok(data),
            Some(REFUSES) => Message::new(data, REFUSED),
            _ => Message::failure(FAILED, &format!("the command ended with {}", output.status)),
        })
    }
}

#[async_trait]
impl Handler for Exec {
    async fn handle(&self, call: Call) -> Message {
        let ran = self.run(&call).await;
        ran.unwrap_or_else(|error| {
            Message::failure(FAILED, &format!("cannot run the command: {error}"))
        })
    }
}
