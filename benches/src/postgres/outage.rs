//! PostgreSQL stopped under load, for as long as an operator needs, with SQLite beside it.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::server::{Server, backlog};
use super::{agents, cluster, connect, seconds};
use crate::Failure;
use crate::process::scratch;
use crate::report::table;

const AGENTS: usize = 500;
/// The interval between messages of an agent.
const PAUSE: Duration = Duration::from_millis(100);
/// The interval of checks of the backlogs.
const LOOK: Duration = Duration::from_millis(250);

const SQLITE: &str = "[receivers.local]\nkind = \"sqlite\"\npath = \"metrics.db\"\nsubscribe = [\"ethereum_metrics\"]\n";

pub(crate) fn run() -> Result<(), Failure> {
    let (mut cluster, _data) = cluster()?;
    let dir = scratch()?;
    let server = Server::start(dir.path(), &cluster.url("postgres"), SQLITE)?;
    let (admin, address, token) =
        (server.address("admin")?, server.address("rest")?, server.token()?);
    let (around, stopped) = (seconds(20), seconds(60));
    let time = around + stopped + around;
    let load = std::thread::spawn(move || agents::run(&address, &token, AGENTS, Some(PAUSE), time));
    let (end, ended) = mpsc::channel();
    let watched = admin.clone();
    let watch = std::thread::spawn(move || largest(&watched, &ended));

    std::thread::sleep(around);
    cluster.stop()?;
    std::thread::sleep(stopped);
    let waiting = backlog(&admin, "store")?;
    cluster.resume()?;
    let resumed = Instant::now();
    // The load continues meanwhile.
    while backlog(&admin, "store")? > 2 * AGENTS as u64 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let caught_up = resumed.elapsed();
    let seen = load.join().map_err(|_| "the load panicked")??;
    end.send(())?;
    let largest = watch.join().map_err(|_| "watching the backlog panicked")??;
    while backlog(&admin, "store")? + backlog(&admin, "local")? > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(server);
    let rows =
        [in_postgres(&cluster.url("postgres"))?, in_sqlite(&dir.path().join("data/metrics.db"))?];
    report(&seen, &Outage { stopped, rows, waiting, caught_up, beside: largest });
    if rows != [seen.acknowledged; 2] {
        return Err("messages were lost, or stored twice".into());
    }
    Ok(())
}

struct Outage {
    stopped: Duration,
    /// In PostgreSQL and in SQLite.
    rows: [u64; 2],
    /// The backlog of PostgreSQL when it was started again.
    waiting: u64,
    caught_up: Duration,
    /// The largest backlog of SQLite.
    beside: u64,
}

fn report(seen: &agents::Seen, outage: &Outage) {
    let Outage { stopped, rows: [postgres, sqlite], waiting, caught_up, beside } = outage;
    println!(
        "PostgreSQL stopped for {} s under the load of {AGENTS} agents over REST, `ack = stored`, with a SQLite receiver as well\n",
        stopped.as_secs()
    );
    let figure = |name: &str, value: String| vec![name.to_owned(), value];
    let millis = |share| format!("{:.2}", seen.millis(share));
    table(
        &["figure", "value"],
        &[
            figure("messages/s", format!("{:.0}", seen.acknowledged as f64 / seen.seconds)),
            figure(
                "acknowledged, rows in PostgreSQL, rows in SQLite",
                format!("{}, {postgres}, {sqlite}", seen.acknowledged),
            ),
            figure("refused", seen.refused.to_string()),
            figure(
                "answer, p50, p99, longest",
                format!("{}, {}, {} ms", millis(0.5), millis(0.99), millis(1.0)),
            ),
            figure("backlog of PostgreSQL at the end of the stop", format!("{waiting} messages")),
            figure(
                "time to catch up under continued load",
                format!("{:.1} s", caught_up.as_secs_f64()),
            ),
            figure("largest backlog of SQLite", format!("{beside} messages")),
        ],
    );
}

/// The largest backlog of the other receiver.
fn largest(admin: &str, ended: &mpsc::Receiver<()>) -> Result<u64, Failure> {
    let mut largest = 0;
    while ended.recv_timeout(LOOK).is_err() {
        largest = largest.max(backlog(admin, "local")?);
    }
    Ok(largest)
}

/// Rows with distinct ids.
fn in_postgres(url: &str) -> Result<u64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(url).await?;
        let row = client.query_one("SELECT count(*) FROM eth_stats", &[]).await?;
        Ok(u64::try_from(row.get::<_, i64>(0))?)
    })
}

fn in_sqlite(path: &Path) -> Result<u64, Failure> {
    let database = rusqlite::Connection::open(path)?;
    let rows: i64 = database.query_row("SELECT count(*) FROM eth_stats", [], |row| row.get(0))?;
    Ok(u64::try_from(rows)?)
}
