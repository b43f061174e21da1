//! `poa-server db` on the files and tables of real servers: killed at any moment, it leaves them whole, and the next run ends the work.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod compact;
mod partition;

use std::path::Path;
use std::process::Stdio;

use poa_tests::program;
use tokio::process::Command;

/// `poa-server db` with these arguments, in this directory.
fn db(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("db").args(args).args(["--config", "poa.toml"]).current_dir(dir);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end: exit code, standard output, standard error.
async fn outcome(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = db(dir, args).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
