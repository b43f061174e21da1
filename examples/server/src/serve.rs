//! The commands around a configuration: run, check, list.

use std::path::Path;

use poa_host::{Config, Server, Source};

use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry;

/// Runs until a signal ends it. Returns the exit code.
pub(crate) async fn serve(source: Source) -> Result<u8, Failure> {
    let signals = signals()?;
    let outcome = poa_host::run(source, registry(), signals, announce).await?;
    Ok(outcome.exit_code())
}

/// Takes signals from now on.
pub(crate) fn signals() -> Result<tokio::sync::mpsc::Receiver<poa_host::Signal>, Failure> {
    poa_host::signals().map_err(|error| Failure::new("cannot take signals", error))
}

/// Tells whoever started the server that every listener is bound.
pub(crate) fn announce(server: &Server) {
    let at = |(name, endpoint): (String, String)| format!(" {name}={endpoint}");
    let addresses: String = server.addresses().into_iter().map(at).collect();
    say(format_args!("poa-server ready{addresses}"));
}

/// Tells what is wrong with a configuration.
pub(crate) fn check(file: Option<&Path>) -> Result<u8, Failure> {
    let file = file.unwrap_or(Path::new("poa.toml"));
    let config = Config::load(file, &registry())?;
    warn_of_left_behind(&config);
    say(format_args!("{}: ok", file.display()));
    Ok(0)
}

/// Tells what the next start would give up. That may be what the operator wants, so it is no problem of the configuration.
fn warn_of_left_behind(config: &Config) {
    let receivers: Vec<_> = config.receivers().collect();
    // A log that cannot be read is found, with its cure, at the start.
    for (receiver, messages) in
        poa_engine_local::left_behind(config.data_dir(), &receivers).unwrap_or_default()
    {
        eprintln!(
            "warning: about {messages} messages wait for receivers.{receiver}, which is not configured; \
             the next start gives them up"
        );
    }
}
