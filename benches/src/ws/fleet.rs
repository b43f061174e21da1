//! Ten thousand agents at work, each over a connection of its own, against the bundled server.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use poa_agent::{Config, Credentials, create_user};
use poa_fleet::{Fleet, Latency, Options, Rate, Summary};
use rusqlite::Connection;

use crate::Failure;
use crate::bundled::Bundled;
use crate::process::{resident_of, scratch};
use crate::report::table;

/// Connections beyond those of the agents.
const OTHERS: usize = 1_000;

/// The behaviour of the agents.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// The number of agents
    #[arg(long, default_value = "10000")]
    agents: NonZeroUsize,
    /// The number of messages per second and agent
    #[arg(long, default_value_t = 0.1)]
    rate: f64,
    /// The duration in seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

pub(crate) fn run(load: Load) -> Result<(), Failure> {
    let dir = scratch()?;
    std::fs::write(dir.path().join("poa.toml"), config(load.agents.get() + OTHERS))?;
    let mut server = Bundled::start(dir.path())?;
    let idle = resident_of(server.id())?;
    // One thread, so that the agents leave processor time to the server, which shares two cores with them.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (summary, working) = runtime.block_on(live(load, &server))?;
    // An orderly stop delivers everything first.
    server.stop()?;
    let rows = rows(&dir.path().join("data/metrics.db"))?;
    report(load, &summary, rows, [idle, working]);
    if summary.all_acknowledged() && rows == summary.acknowledged {
        Ok(())
    } else {
        Err(format!("{} sent, {} acknowledged, {rows} stored", summary.sent, summary.acknowledged)
            .into())
    }
}

/// The summary of the agents, and the resident memory of the server while all of them were connected.
async fn live(load: Load, server: &Bundled) -> Result<(Summary, u64), Failure> {
    let (url, auth) = (server.url("ws")?.parse()?, server.url("auth")?.parse()?);
    let admin = Credentials::new("bench", "benchmark")?;
    let user = create_user(&Config::new(url, auth, admin, "bench".parse()?)).await??;
    let (url, auth) = (server.url("ws")?.parse()?, server.url("auth")?.parse()?);
    let mut options = Options::new(url, auth, user);
    options.agents = load.agents;
    options.rate = Rate::PerSecond(load.rate);
    options.ramp = Duration::from_secs(load.seconds.min(10));
    options.history = 0;
    let pid = server.id();
    let mut working = 0;
    let stop = async {
        tokio::time::sleep(Duration::from_secs(load.seconds)).await;
        // An unreadable value is shown as zero.
        working = resident_of(pid).unwrap_or_default();
    };
    let summary = Fleet::new(options)?.run(stop).await?;
    Ok((summary, working))
}

/// Every metric is in one of three tables.
fn rows(path: &Path) -> Result<u64, Failure> {
    let database = Connection::open(path)?;
    let query = "SELECT (SELECT count(*) FROM eth_stats) + (SELECT count(*) FROM system_stats) \
        + (SELECT count(*) FROM metrics)";
    Ok(database.query_row(query, [], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

fn report(load: Load, summary: &Summary, rows: u64, [idle, working]: [u64; 2]) {
    println!(
        "{} agents of `poa-fleet`, each over a WebSocket of its own, {} messages per second each and a ping every 3 s, for \
         {} s; the bundled server with SQLite, `ack = stored`\n",
        load.agents, load.rate, load.seconds
    );
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let (sent, acknowledged) = (summary.sent, summary.acknowledged);
    table(
        &["figure", "value"],
        &[
            figure(
                "metrics sent, acknowledged, rows in SQLite",
                format!("{sent}, {acknowledged}, {rows}"),
            ),
            figure(
                "sent again, calls that failed",
                format!("{}, {}", summary.resent, summary.failures),
            ),
            figure("time of a call, p50, p99, p99.9, longest", millis(&summary.answer)),
            figure("from when it was due to its answer", millis(&summary.total)),
            figure("resident memory of the server, before", mib(idle)),
            figure("the same, with all agents", mib(working)),
        ],
    );
}

fn millis(times: &Latency) -> String {
    format!("{:.1}, {:.1}, {:.1}, {:.1} ms", times.p50, times.p99, times.p999, times.max)
}

fn config(connections: usize) -> String {
    let all = r#"["ethereum_metrics", "networking_metrics", "system_metrics"]"#;
    format!(
        "data_dir = \"data\"\nmetrics = {all}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [auth]\nadmins = [{{ name = \"bench\", password = \"benchmark\" }}]\n\
         [handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\nlimits = {{ max_connections = {connections} }}\n\
         [handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:0\"\n\
         [receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = {all}\n"
    )
}
