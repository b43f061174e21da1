//! `poa-server check`.

use std::path::Path;
use std::process::{Command, ExitStatus};

use poa_host::{CheckOptions, Config, Source};

use crate::cli::Check;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry;

/// Reports what is wrong with a configuration.
pub(crate) async fn check(options: Check, cx: Context<'_>) -> Result<u8, Failure> {
    let source = Source::File(cx.config.unwrap_or(Path::new("poa.toml")).to_owned());
    if !options.no_plugins && !options.in_child && source.names_libraries() {
        return in_child();
    }
    let mut depth = CheckOptions::default();
    depth.libraries = !options.no_plugins;
    depth.environment = !options.no_environment;
    let checked = source.check(&registry(), depth)?;
    checked.warnings.iter().for_each(|warning| cx.warn(warning));
    warn_of_left_behind(&checked.config, cx);
    checked.not_checked.iter().for_each(|section| say(format_args!("{section}: not checked")));
    say(format_args!("{source}: ok"));
    Ok(0)
}

/// A library runs code as soon as it is loaded, and may end the process: that must be another one.
fn in_child() -> Result<u8, Failure> {
    let failed = |error| Failure::new("cannot start a process to load libraries in", error);
    let program = std::env::current_exe().map_err(failed)?;
    let status = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--in-child")
        .status()
        .map_err(failed)?;
    status.code().and_then(|code| u8::try_from(code).ok()).ok_or_else(|| ended(status))
}

fn ended(status: ExitStatus) -> Failure {
    Failure::because(format_args!(
        "a library under [[plugins]] ended the process that loaded it ({status}); check the rest with --no-plugins"
    ))
}

/// Reports what the next start would discard. That may be what the operator wants, so it is not a problem of the configuration.
fn warn_of_left_behind(config: &Config, cx: Context<'_>) {
    let receivers: Vec<_> = config.receivers().collect();
    // A log that cannot be read is found, with its cure, at the start.
    for (receiver, messages) in
        poa_engine_local::left_behind(config.data_dir(), &receivers).unwrap_or_default()
    {
        cx.warn(format_args!(
            "about {messages} messages wait for receivers.{receiver}, which is not configured; \
             the next start discards them"
        ));
    }
}
