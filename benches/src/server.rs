//! The servers that are measured.

mod floor;
mod poa;

use poa_core::Ack;

use crate::Failure;
use crate::engine::Engine;

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Bare hyper: a lookup of the token among verified ones, one parse, one queue.
    Floor,
    /// The same, with the token verified each time.
    FloorHmac,
    /// poa with the memory engine.
    PoaMemory,
    /// poa with the log engine, acknowledging before the sync.
    PoaLog,
    /// poa with the log engine, acknowledging after the sync.
    PoaStored,
    /// The same over WebSocket.
    PoaWs,
    /// A node of the Gilmour gateway.
    GilmourNode,
    /// A reverse proxy.
    GilmourProxy,
}

/// The data types all servers accept.
const TYPES: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];

/// Serves until its stdin closes or it is killed.
pub(crate) fn run(kind: Kind) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match kind {
            Kind::Floor => floor::serve(true).await,
            Kind::FloorHmac => floor::serve(false).await,
            Kind::PoaMemory => poa::serve(Engine::Memory, Ack::Memory).await,
            Kind::PoaLog => poa::serve(Engine::Log, Ack::Memory).await,
            Kind::PoaStored => poa::serve(Engine::Log, Ack::Stored).await,
            Kind::GilmourNode => crate::gilmour::hop::serve_node().await,
            Kind::GilmourProxy => crate::gilmour::hop::serve_proxy().await,
            Kind::PoaWs => crate::ws::serve().await,
        }
    })
}

/// Tells the parent the address and the token.
fn announce(address: &str, token: &str) {
    println!("{address} {token}");
}
