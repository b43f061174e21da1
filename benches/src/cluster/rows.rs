//! From REST through one, two and three front ends to rows.

use std::path::Path;
use std::time::{Duration, Instant};

use poa_test_nats::Servers;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use crate::Failure;
use crate::postgres::agents::{self, Seen};
use crate::postgres::server::Server;
use crate::process::scratch;
use crate::report::table;

/// How many agents send to each front end.
const AGENTS: usize = 64;
/// The longest that rows may take after the last answer.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn run(servers: &Servers, seconds: u64) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for fronts in 1..=3 {
        rows.push(measure(servers, fronts, Duration::from_secs(seconds))?);
    }
    println!(
        "POST /data by {AGENTS} agents for each front end for {seconds} s, without keys, into SQLite by one receiver node; everything on one machine\n"
    );
    let head = ["front ends", "requests/s", "rows/s, to the last row", "answers other than 200"];
    table(&head, &rows);
    Ok(())
}

fn measure(servers: &Servers, fronts: usize, time: Duration) -> Result<Vec<String>, Failure> {
    let prefix = format!("rows{fronts}");
    let database = scratch()?;
    let rows = database.path().join("rows.db");
    let receiver = format!(
        "[receivers.store]\nkind = \"sqlite\"\npath = {rows:?}\nsubscribe = [\"ethereum_metrics\"]\n"
    );
    let handlers = "[auth]\nadmins = [{ name = \"bench\", password = \"benchmark\" }]\n\
                    [handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n[handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:0\"\n";
    let _storing = start(servers, &prefix, "receiver", &receiver)?;
    let nodes = (0..fronts).map(|n| start(servers, &prefix, &format!("front-{n}"), handlers));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let token = nodes[0].0.token()?;
    let addresses = nodes.iter().map(|(node, _)| node.address("rest"));
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    let seen = load(&addresses, &token, time)?;
    let acknowledged: u64 = seen.iter().map(|seen| seen.acknowledged).sum();
    let refused: u64 = seen.iter().map(|seen| seen.refused).sum();
    let rate: f64 = seen.iter().map(|seen| seen.acknowledged as f64 / seen.seconds).sum();
    until_stored(&rows, acknowledged)?;
    let stored = acknowledged as f64 / begin.elapsed().as_secs_f64();
    Ok(vec![fronts.to_string(), format!("{rate:.0}"), format!("{stored:.0}"), refused.to_string()])
}

/// A node with these plugins, and its directory.
fn start(
    servers: &Servers,
    prefix: &str,
    name: &str,
    plugins: &str,
) -> Result<(Server, TempDir), Failure> {
    let dir = scratch()?;
    let config = format!(
        "data_dir = \"data\"\nmetrics = [\"ethereum_metrics\"]\nstart_timeout = \"60s\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{plugins}\n\
         [bus]\nengine = \"nats\"\n[bus.nats]\nservers = {:?}\nmonitor = {:?}\nprefix = \"{prefix}\"\nmax_bytes = \"4GiB\"\n\
         node = \"{name}\"\nstart_timeout = \"50s\"\n",
        servers.urls(),
        servers.monitors(),
    );
    Ok((Server::of(dir.path(), &config)?, dir))
}

/// Agents of each front end, on a thread each.
fn load(addresses: &[String], token: &str, time: Duration) -> Result<Vec<Seen>, Failure> {
    std::thread::scope(|scope| {
        let one = |address: &'_ String| {
            let address = address.clone();
            scope.spawn(move || agents::run(&address, token, AGENTS, None, time))
        };
        let running: Vec<_> = addresses.iter().map(one).collect();
        let ended = running.into_iter().map(|one| one.join().map_err(|_| "a load panicked")?);
        ended.collect()
    })
}

fn until_stored(rows: &Path, expected: u64) -> Result<(), Failure> {
    let begin = Instant::now();
    let database = Connection::open_with_flags(rows, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let count =
        || database.query_row("SELECT count(*) FROM eth_stats", [], |row| row.get::<_, i64>(0));
    loop {
        let stored = u64::try_from(count()?)?;
        if stored >= expected {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("{stored} of {expected} acknowledged messages are stored").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
