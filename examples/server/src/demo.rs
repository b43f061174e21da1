//! The built-in configuration, an agent on this machine, and what to try.

mod agent;
#[cfg(unix)]
mod cluster;
mod fleet;
mod networks;
mod nodes;
mod rows;
mod text;
mod users;

use poa_host::{Outcome, Server, ServerError, Signal, told_to_stop};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::cli::{Demo, DemoOf};
use crate::embedded;
use crate::failure::Failure;
use crate::logs::Logs;
use crate::output::say;
use crate::serve::{announce, launch, signals};

/// Runs until a signal ends it. Returns the exit code.
pub(crate) async fn demo(options: Demo, logs: &Logs) -> Result<u8, Failure> {
    match (&options.of, options.nodes) {
        (Some(DemoOf::Leviathan(options)), _) => networks::demo(options, logs).await,
        (None, Some(servers)) => cluster_of(&options, servers).await,
        (None, None) => metrics(options, logs).await,
    }
}

#[cfg(unix)]
async fn cluster_of(options: &Demo, servers: u16) -> Result<u8, Failure> {
    cluster::demo(options, servers).await
}

#[cfg(not(unix))]
async fn cluster_of(_: &Demo, _: u16) -> Result<u8, Failure> {
    Err(Failure::because("a cluster to try needs the signals and process groups of Unix"))
}

async fn metrics(options: Demo, logs: &Logs) -> Result<u8, Failure> {
    let mut signals = signals()?;
    let source = embedded::moved(&options.data_dir, options.listen_base);
    let server = tokio::select! {
        server = launch(source, logs).start() => server.map_err(with_cure)?,
        _ = told_to_stop(&mut signals) => return Ok(0),
    };
    announce(&server);
    let places = text::Places::of(&server)?;
    let before = rows::look(&places.database()).await;
    let (leave, left) = watch::channel(());
    let (id, words) = nodes::start(&places.gilmour, nodes::WORDS, gone(left.clone())).await?;
    let (_, count) = nodes::start(&places.gilmour, nodes::COUNT, gone(left.clone())).await?;
    let agents = [
        Some(agent::start(&places, server.auth(), gone(left.clone())).await?),
        fleet::start(options.agents, &places, server.auth(), gone(left)).await?,
        Some(words),
        Some(count),
    ];
    say(text::explain(&places, server.auth(), options.agents, &id));
    let rows = tokio::spawn(rows::announce_first(places.database(), before));

    told_to_stop(&mut signals).await;
    say("\ndraining; press Ctrl-C again to exit now");
    drop(leave);
    let outcome = tokio::select! {
        outcome = farewell(agents, server) => outcome?,
        signal = told_to_stop(&mut signals) => Outcome::Aborted(signal),
    };
    rows.abort();
    Ok(outcome.exit_code())
}

/// Ready once the sender is dropped.
async fn gone(mut sender: watch::Receiver<()>) {
    while sender.changed().await.is_ok() {}
}

/// The agents take their leave while the server still listens; then the server drains.
async fn farewell(
    agents: [Option<JoinHandle<()>>; 4],
    server: Server,
) -> Result<Outcome, ServerError> {
    for agent in agents.into_iter().flatten() {
        let _ = agent.await;
    }
    let (tell, told) = mpsc::channel(1);
    let _ = tell.try_send(Signal::Terminate);
    server.run(told).await
}

/// The demo has no `listen` to change, but an option.
fn with_cure(error: ServerError) -> Failure {
    let failure = Failure::from(error);
    if failure.mentions("cannot listen on") {
        failure.and("try other ports with --listen-base 5000")
    } else {
        failure
    }
}
