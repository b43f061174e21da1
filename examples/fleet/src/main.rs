//! The fleet as a program.

mod cli;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use poa_agent::{BoxError, ErrorChain, Signals};
use poa_fleet::{Fleet, Monitor, Summary};
use tracing_subscriber::EnvFilter;

/// Not every metric was acknowledged.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match serve(cli) {
        Ok(summary) if summary.all_acknowledged() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(INCOMPLETE),
        Err(error) => {
            eprintln!("poa-fleet: {}", ErrorChain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn serve(cli: cli::Cli) -> Result<Summary, BoxError> {
    let (progress, json) = (cli.progress(), cli.json());
    let runtime = tokio::runtime::Runtime::new()?;
    let summary = runtime.block_on(async {
        let fleet = Fleet::new(cli.into_options().await?)?;
        live(fleet, progress).await
    })?;
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{summary}");
    }
    Ok(summary)
}

async fn live(fleet: Fleet, progress: Option<Duration>) -> Result<Summary, BoxError> {
    let mut signals = Signals::new()?;
    let monitor = fleet.monitor();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let life = fleet.run(async { drop(stopped.await) });
    tokio::pin!(life);
    let told = tell(monitor, progress);
    tokio::pin!(told);
    tokio::select! {
        outcome = &mut life => return Ok(outcome?),
        () = &mut told => {}
        () = signals.next() => drop(stop),
    }
    tokio::select! {
        outcome = life => Ok(outcome?),
        () = told => unreachable!("progress is told until the end"),
        () = signals.next() => Err("stopped at once by a second signal".into()),
    }
}

/// Prints a line now and then, on stderr: stdout is for the summary.
async fn tell(mut monitor: Monitor, every: Option<Duration>) {
    let Some(every) = every else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        eprintln!("{}", monitor.progress());
    }
}
