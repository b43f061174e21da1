//! Measures poa against its yardsticks, side by side in one run.
//!
//! `cargo xtask bench` builds and runs this. Servers run in processes of their own, so that their processor time can
//! be told from that of the load. The two sides of a comparison alternate, and medians are printed as Markdown.

mod agents;
mod bundled;
mod bus;
mod chart;
mod cluster;
mod dynamo;
mod engine;
mod gilmour;
mod leviathan;
mod load;
mod log;
mod plugins;
mod postgres;
mod process;
mod report;
mod rest;
mod server;
mod server_process;
mod stopped;
mod upkeep;
mod ws;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Any error; a benchmark that fails reports it and exits.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(name = "poa-bench", about = "Measures poa against its yardsticks")]
struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
    /// The file for the chart of the requests per second of `rest`
    #[arg(long, global = true, value_name = "SVG")]
    chart: Option<PathBuf>,
}

#[derive(Clone, Copy, Subcommand)]
enum Which {
    /// POST /data against a bare hyper server with the same function.
    Rest,
    /// Memory and processor time of 100,000 agents that ping.
    Agents,
    /// Appending with fsync at 1, 64 and 1,024 publishers, against raw writes; with `--features stores`, against other stores.
    Log,
    /// The bus in one process: against a channel, with more receivers, catching up from the disk.
    Bus,
    /// A receiver that is stopped for a minute under full load.
    Stopped,
    /// Items per second through the DynamoDB receiver, against BatchWriteItem alone. Needs POA_TEST_DYNAMODB.
    Dynamo,
    /// Rows per second through the PostgreSQL receiver, against COPY and INSERT; REST to rows. Needs the programs of PostgreSQL.
    Postgres,
    /// PostgreSQL stopped for a minute under load, SQLite beside it. Needs the programs of PostgreSQL.
    PostgresOutage,
    /// A receiver that does nothing: compiled in, in a shared library, in a child process. Needs POA_TEST_PLUGINS.
    Plugins,
    /// Data calls over WebSocket against REST, and the memory of 10,000 idle connections.
    Ws,
    /// 10,000 agents at work over WebSocket, for two minutes.
    Fleet(ws::fleet::Load),
    /// Container networks against bare netlink messages and `ip` commands, and the memory of 1,000 containers.
    Leviathan,
    /// The bus on three NATS servers against raw publishes and a raw reader; takeovers; REST to rows. Needs POA_TEST_NATS_SERVER.
    Cluster(cluster::Size),
    /// Requests through the Gilmour gateway against a bare reverse proxy; signals, compositions. Needs Redis and NATS.
    Gilmour,
    /// The bundled server: start to ready, memory, recovery.
    Server,
    /// Ingest while retention removes rows, the configuration is reloaded, `tap` and `top` watch.
    Upkeep(upkeep::Upkeep),
    /// Runs one of the measured servers; used by the others.
    #[command(hide = true)]
    Serve { kind: server::Kind },
    /// The child process of `plugins`.
    #[command(hide = true)]
    NullChild,
}

fn main() -> Result<(), Failure> {
    let Arguments { which, chart } = Arguments::parse();
    match which {
        Some(Which::Rest) => rest::run(chart.as_deref()),
        Some(Which::Agents) => agents::run(),
        Some(Which::Log) => log::run(),
        Some(Which::Bus) => bus::run(),
        Some(Which::Stopped) => stopped::run(),
        Some(Which::Dynamo) => dynamo::run(),
        Some(Which::Postgres) => postgres::run(),
        Some(Which::PostgresOutage) => postgres::run_outage(),
        Some(Which::Plugins) => plugins::run(),
        Some(Which::NullChild) => plugins::child(),
        Some(Which::Ws) => ws::run(),
        Some(Which::Fleet(load)) => ws::fleet::run(load),
        Some(Which::Leviathan) => leviathan::run(),
        Some(Which::Cluster(size)) => cluster::run(size),
        Some(Which::Gilmour) => gilmour::run(),
        Some(Which::Server) => server_process::run(),
        Some(Which::Upkeep(upkeep)) => upkeep.run(),
        Some(Which::Serve { kind }) => server::run(kind),
        None => all(chart.as_deref()),
    }
}

/// Runs each in a process of its own, so that none inherits the memory of another.
fn all(chart: Option<&Path>) -> Result<(), Failure> {
    for which in [
        "log",
        "bus",
        "stopped",
        "dynamo",
        "postgres",
        "postgres-outage",
        "plugins",
        "rest",
        "ws",
        "fleet",
        "agents",
        "leviathan",
        "cluster",
        "gilmour",
        "server",
        "upkeep",
    ] {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        let chart = chart.iter().flat_map(|path| [Path::new("--chart"), path]);
        let status = command.arg(which).args(chart).status()?;
        if !status.success() {
            return Err(format!("`{which}` failed").into());
        }
    }
    Ok(())
}
