//! Logs on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, LogFormat, Plugin};
use crate::failure::Failure;

/// Begins to log as the command line says, else as RUST_LOG says, else what the command suggests.
///
/// # Errors
/// When the filter cannot be understood.
pub(crate) fn start(cli: &Cli) -> Result<(), Failure> {
    let written =
        cli.log.clone().or_else(|| std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()));
    let text = written.unwrap_or_else(|| suggested(cli.command.as_ref()).to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        Failure::because(format!(
            "`{text}` is no log filter ({error}); write one such as `info` or `poa_core=debug,info`"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(in_colour())
        .with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Colours are for people who watch and have not asked for none; files and other programs get plain text.
fn in_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

/// Commands that print for people leave the rest to them.
fn suggested(command: Option<&Command>) -> &'static str {
    match command {
        None | Some(Command::Run) => "info",
        // Most of what is logged there are failures that were made on purpose.
        Some(Command::Plugin(Plugin::Test(_))) => "off",
        Some(_) => "warn",
    }
}
