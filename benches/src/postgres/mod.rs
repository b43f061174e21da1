//! Rows stored per second in PostgreSQL: through the receiver, by COPY of the same rows alone, and by other ways to
//! write them; from a REST client through the log to the rows; and a minute without PostgreSQL.

pub(crate) mod agents;
mod alone;
mod outage;
pub(crate) mod server;
mod sustained;
mod ways;

pub(crate) use outage::run as run_outage;

use std::time::{Duration, Instant};

use poa_core::{BuildContext, Message, Plugin as _, Receiver as _};
use poa_receiver_postgres::{Config, Postgres};
use poa_test_postgres::{Cluster, Setup};
use poa_testkit::Samples;
use tokio_postgres::{Client, NoTls};

use crate::Failure;
use crate::process::scratch;
use crate::report::{median, table};

/// Messages in a round.
const MESSAGES: usize = 50_000;
/// Messages that are inserted one by one in a round.
const SINGLE: usize = 2000;
/// Messages in a batch; what the host gives a receiver by default.
const BATCH: usize = 1000;
const ROUNDS: usize = 7;
const AGENTS: usize = 100;

/// Statistics as agents send them.
const STATISTICS: &str = r#"{"type":"statistics","body":{"active":true,"gasPrice":1000000000,"hashrate":0,"mining":false,"peers":5,"syncing":{"currentBlock":"0x44ee0","highestBlock":"0x44ee2","startingBlock":"0x40ad3"},"uptime":100.0}}"#;

/// Rows per second of one way, one for each round.
struct Rates {
    what: &'static str,
    rates: Vec<f64>,
}

pub(crate) fn run() -> Result<(), Failure> {
    let (cluster, _dir) = cluster()?;
    let url = cluster.url("postgres");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    report(&runtime.block_on(measure(&url))?);
    sustained::run(&url)
}

/// The duration in seconds, or `POA_BENCH_SECONDS` for a quick trial.
fn seconds(usual: u64) -> Duration {
    let hurry = std::env::var("POA_BENCH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(hurry.unwrap_or(usual))
}

/// A server with durable data and real syncs, as in production.
fn cluster() -> Result<(Cluster, tempfile::TempDir), Failure> {
    let dir = scratch()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    // It runs as another user when this runs as root.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(dir.path(), mode)?;
    Ok((Cluster::start(Setup::default().tcp().durable().data_in(&data))?, dir))
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The first is the yardstick.
async fn measure(url: &str) -> Result<Vec<Rates>, Failure> {
    let clients = [connect(url).await?, connect(url).await?];
    let client = &clients[0];
    let cx = BuildContext::detached("bench", std::env::temp_dir());
    let mut receiver = Postgres::build(Config::new(url), &cx).await?;
    let mut all: Vec<Rates> = Vec::new();
    // A round before the first fills caches, and is not counted.
    for round in 0..=ROUNDS {
        let messages = messages();
        clear(client).await?;
        let stored = through_receiver(&mut receiver, &messages).await?;
        let parsing = parse(&messages)?;
        let rows = alone::rows(client, MESSAGES).await?;
        let mut times = Vec::new();
        clear(client).await?;
        times.push(("COPY alone, of encoded rows", MESSAGES, alone::copy(client, &rows).await?));
        times.push(("`poa-receiver-postgres`", MESSAGES, stored));
        times.push((
            "the same, without the time to read the JSON",
            MESSAGES,
            stored.saturating_sub(parsing),
        ));
        clear(client).await?;
        times.push(("COPY over two connections", MESSAGES, ways::two(&clients, &rows).await?));
        clear(client).await?;
        times.push((
            "COPY to a staging table, then INSERT … ON CONFLICT",
            MESSAGES,
            ways::staged(client, &rows).await?,
        ));
        clear(client).await?;
        times.push((
            "INSERT of arrays, ON CONFLICT",
            MESSAGES,
            ways::arrays(client, &messages).await?,
        ));
        clear(client).await?;
        times.push((
            "one INSERT for each message",
            SINGLE,
            alone::insert(client, &messages[..SINGLE]).await?,
        ));
        if round == 0 {
            all = times.iter().map(|(what, ..)| Rates { what, rates: Vec::new() }).collect();
            continue;
        }
        for (way, (_, count, time)) in all.iter_mut().zip(times) {
            way.rates.push(count as f64 / time.as_secs_f64());
        }
    }
    Ok(all)
}

/// Each way starts with empty tables, and with a server that has no pending writes.
async fn clear(client: &Client) -> Result<(), Failure> {
    Ok(client.batch_execute("TRUNCATE eth_stats; CHECKPOINT").await?)
}

fn messages() -> Vec<Message> {
    let mut samples = Samples::from_now();
    let agent = |n: usize| format!("agent-{}", n % AGENTS);
    (0..MESSAGES).map(|n| samples.json(&agent(n), "ethereum_metrics", STATISTICS)).collect()
}

async fn through_receiver(
    receiver: &mut Postgres,
    messages: &[Message],
) -> Result<Duration, Failure> {
    let begin = Instant::now();
    for batch in messages.chunks(BATCH) {
        receiver.metrics_received(batch).await?;
    }
    Ok(begin.elapsed())
}

/// The time to convert the messages' JSON to rows, which COPY alone does not need.
fn parse(messages: &[Message]) -> Result<Duration, Failure> {
    let begin = Instant::now();
    for message in messages {
        let json = message.payload().to_json()?;
        let data_type = message.data_type().name();
        let mapped = poa_tables::map(message.message_type(), data_type, &json, |_| true)?;
        std::hint::black_box(mapped);
    }
    Ok(begin.elapsed())
}

fn report(all: &[Rates]) {
    println!(
        "Statistics of {} bytes into `eth_stats`, {MESSAGES} in a round, {BATCH} in a transaction, fsync on, medians of {ROUNDS}\n",
        STATISTICS.len()
    );
    let yardstick = &all[0].rates;
    let row = |way: &Rates| {
        let ratios = way.rates.iter().zip(yardstick).map(|(rate, yardstick)| rate / yardstick);
        let (rate, ratio) = (median(way.rates.clone()), median(ratios.collect()));
        vec![way.what.to_owned(), format!("{rate:.0}"), format!("{ratio:.2}")]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    table(&["what", "rows/s", "of the yardstick"], &rows);
}
