//! The agent as a program.

mod cli;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use poa_agent::{Agent, BoxError, ErrorChain, Signals};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match serve(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("poa-agent: {}", ErrorChain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn serve(cli: cli::Cli) -> Result<(), BoxError> {
    let agent = Agent::new(cli.into_config()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(live(agent));
    // A measurement that hangs on a failed disk must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn live(agent: Agent) -> Result<(), BoxError> {
    let mut signals = Signals::new()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let life = agent.run(async { drop(stopped.await) });
    tokio::pin!(life);
    tokio::select! {
        outcome = &mut life => return finish(outcome),
        () = signals.next() => drop(stop),
    }
    tokio::select! {
        outcome = life => finish(outcome),
        () = signals.next() => Err("stopped immediately by a second signal; unsent metrics are lost".into()),
    }
}

fn finish(outcome: Result<poa_agent::Report, poa_agent::RunError>) -> Result<(), BoxError> {
    println!("poa-agent: {}", outcome?);
    Ok(())
}
