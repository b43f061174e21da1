//! Children that do as they should, and children that do not. They are shell scripts, so that nothing has to be installed.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod end;
mod environment;
mod handler;
mod log;
mod misbehaviour;
mod receiver;

use std::path::Path;

use poa_core::{BuildContext, DeliveryError, Plugin as _};
use poa_exec::{Config, ExecReceiver};
use tempfile::TempDir;

/// Greets the host as a child must.
const READY: &str = r#"read -r hello; echo '{"type":"ready","protocol":1}'"#;
/// Reads a frame, and its id.
const NEXT: &str = r#"read -r line; id=${line#*\"id\":}; id=${id%%,*}"#;
/// Acknowledges what was read.
const ACK: &str = r#"echo "{\"type\":\"ack\",\"id\":$id}""#;

/// A child that runs these commands, one after the other.
fn sh(commands: &[&str]) -> Config {
    Config::new(["sh", "-c", &commands.join("\n")])
}

/// The same, which finds a directory of its own in `$dir`.
fn sh_in(dir: &Path, commands: &[&str]) -> Config {
    let set = format!("dir='{}'", dir.display());
    sh(&[&[set.as_str()], commands].concat())
}

fn scratch() -> TempDir {
    TempDir::with_prefix("poa-exec-").unwrap()
}

/// A receiver outside of any host.
async fn build(config: Config) -> Result<ExecReceiver, String> {
    let dir = scratch();
    let built = ExecReceiver::build(config, &BuildContext::detached("child", dir.path())).await;
    built.map_err(|error| chain(&error))
}

fn transient(error: DeliveryError) -> String {
    let DeliveryError::Transient { source, .. } = error else { panic!("not transient: {error:?}") };
    chain(&*source)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
