//! Running other programs.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Stdio};

/// A task that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not be started.
    NotStarted(String, std::io::Error),
    /// It ended with this code, or by a signal.
    Ended(String, Option<i32>),
    /// A check found faults.
    Refused(String),
    /// Its output cannot be parsed.
    Unreadable(String, String),
    /// A server or tool that is needed is not available.
    Unavailable {
        /// Its name.
        what: String,
        /// The reason.
        why: String,
        /// The remedy.
        cure: String,
    },
}

impl Failure {
    /// A server or tool that is not available.
    pub(crate) fn unavailable(
        what: impl Into<String>,
        why: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self::Unavailable { what: what.into(), why: why.into(), cure: cure.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(command, error) => write!(f, "cannot run `{command}`: {error}"),
            Self::Ended(command, Some(code)) => write!(f, "`{command}` ended with code {code}"),
            Self::Unavailable { what, why, cure } => {
                write!(f, "{what} is needed, but not available: {why}; {cure}")
            }
            Self::Unreadable(what, why) => write!(f, "cannot read {what}: {why}"),
            Self::Refused(faults) => f.write_str(faults),
            Self::Ended(command, None) => write!(f, "`{command}` was stopped by a signal"),
        }
    }
}

/// Runs cargo with these arguments, in the workspace.
pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Result<(), Failure> {
    cargo_with(&[], args)
}

/// The same, with these variables in the environment.
pub(crate) fn cargo_with<A: AsRef<OsStr>>(
    environment: &[(&str, &OsStr)],
    args: impl IntoIterator<Item = A>,
) -> Result<(), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // `cargo +nightly` is understood by rustup's proxy only, which is what PATH has.
    let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let toolchain = args.first().is_some_and(|arg| arg.to_string_lossy().starts_with('+'));
    let program = if toolchain { "cargo".into() } else { cargo };
    run(Command::new(program).args(args).envs(environment.iter().copied()))
}

/// Whether cargo has this subcommand.
pub(crate) fn has(subcommand: &str) -> bool {
    let quiet = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    quiet(Command::new("cargo").args([subcommand, "--version"]))
}

/// Runs a command and returns its output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure::NotStarted(shown.clone(), error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::Ended(shown, output.status.code())),
    }
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = format!("{command:?}").replace('"', "");
    eprintln!("xtask: {shown}");
    let status = command.status().map_err(|error| Failure::NotStarted(shown.clone(), error))?;
    if status.success() { Ok(()) } else { Err(Failure::Ended(shown, status.code())) }
}
