//! The commands that run a server.

use poa_host::{About, Launch, Server, Source};

use crate::cli::{Graph, GraphFormat};
use crate::failure::Failure;
use crate::logs::Logs;
use crate::output;
use crate::registry::registry;

/// Runs until a signal ends it. Returns the exit code.
pub(crate) async fn serve(source: Source, logs: &Logs) -> Result<u8, Failure> {
    let signals = signals()?;
    let outcome = launch(source, logs).run(signals, announce).await?;
    Ok(outcome.exit_code())
}

/// A server of this program.
pub(crate) fn launch(source: Source, logs: &Logs) -> Launch {
    let about = About::new(env!("CARGO_PKG_VERSION"), env!("POA_COMMIT"));
    Launch::new(source, registry()).about(about.log(logs.counts()))
}

/// Handles signals from now on.
pub(crate) fn signals() -> Result<tokio::sync::mpsc::Receiver<poa_host::Signal>, Failure> {
    poa_host::signals().map_err(|error| Failure::new("cannot take signals", error))
}

/// Announces on stdout that every listener is bound.
pub(crate) fn announce(server: &Server) {
    let at = |(name, endpoint): (String, String)| format!(" {name}={endpoint}");
    let addresses: String = server.addresses().into_iter().map(at).collect();
    output::announce(format!("poa-server ready{addresses}"));
}

/// Draws a configuration.
pub(crate) fn graph(source: &Source, options: Graph) -> Result<u8, Failure> {
    let format = match options.format {
        GraphFormat::Mermaid => poa_host::GraphFormat::Mermaid,
        GraphFormat::Dot => poa_host::GraphFormat::Dot,
    };
    output::give(source.graph(format)?.as_bytes());
    Ok(0)
}
