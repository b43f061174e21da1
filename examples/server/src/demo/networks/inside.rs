//! The process inside: containers, the server, and the way to it.

use std::path::Path;

use poa_host::{Outcome, Server, Signal, Source, told_to_stop};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::{mpsc, oneshot};

use super::lab;
use crate::failure::Failure;
use crate::logs::Logs;
use crate::output::say;
use crate::serve::{launch, signals};

/// Everything is in memory, and gone with the last process.
const CONFIGURATION: &str = r#"
data_dir = "/run/poa-demo"
metrics  = ["leviathan_events"]

[admin]
listen = "127.0.0.1:0"

[handlers.networks]
kind   = "leviathan"
listen = "127.0.0.1:0"
events = "leviathan_events"

[receivers.local]
kind      = "sqlite"
subscribe = ["leviathan_events"]
"#;

/// Serves until the pipe from outside ends.
pub(super) async fn serve(socket: &Path, at: &str, logs: &Logs) -> Result<u8, Failure> {
    let mut signals = signals()?;
    // Bound before anything is mounted over its directory.
    let listener =
        UnixListener::bind(socket).map_err(|error| Failure::new("cannot bind a socket", error))?;
    lab::prepare().await?;
    let source = Source::Text { name: "demo", text: CONFIGURATION.to_owned() };
    let server = launch(source, logs).start().await?;
    let address = address(&server)?;
    let passing = tokio::spawn(pass_on(listener, address.clone()));
    let work = async {
        lab::show(&address).await?;
        say(lab::explain(at));
        left().await;
        Ok::<(), Failure>(())
    };
    let worked = tokio::select! {
        worked = work => worked,
        _ = told_to_stop(&mut signals) => Ok(()),
    };
    passing.abort();
    let (tell, told) = mpsc::channel(1);
    let _ = tell.try_send(Signal::Terminate);
    let outcome: Outcome = server.run(told).await?;
    worked.map(|()| outcome.exit_code())
}

fn address(server: &Server) -> Result<String, Failure> {
    let addresses = server.addresses();
    let networks = addresses.into_iter().find(|(name, _)| name == "networks");
    let (_, endpoint) = networks.ok_or_else(|| Failure::because("the networks have no address"))?;
    Ok(endpoint.trim_start_matches("http://").to_owned())
}

async fn pass_on(listener: UnixListener, address: String) {
    while let Ok((mut outer, _)) = listener.accept().await {
        let address = address.clone();
        tokio::spawn(async move {
            if let Ok(mut inner) = TcpStream::connect(address).await {
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            }
        });
    }
}

/// Ready when the process outside is gone: it never writes to the pipe.
async fn left() {
    let (gone, is_gone) = oneshot::channel::<()>();
    let read = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(gone);
    };
    // A thread of its own: a runtime would wait for one of its threads.
    if std::thread::Builder::new().name("poa-demo-pipe".to_owned()).spawn(read).is_ok() {
        let _ = is_gone.await;
    }
}
