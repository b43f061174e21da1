//! Rows stored per second in PostgreSQL: through the receiver, by COPY of the same rows alone, by one INSERT per message; and the way
//! from a REST client through the log to the rows.

mod alone;
mod sustained;

use std::time::{Duration, Instant};

use poa_core::{BuildContext, Message, Receiver as _, ReceiverPlugin as _};
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

/// Rows per second of each way, one for each round.
#[derive(Default)]
struct Rates {
    receiver: Vec<f64>,
    without_parsing: Vec<f64>,
    copy: Vec<f64>,
    insert: Vec<f64>,
}

pub(crate) fn run() -> Result<(), Failure> {
    let dir = scratch()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    open_to_all(dir.path())?;
    // On the disk, and waiting for it: this is about what a real server does.
    let cluster = Cluster::start(Setup::default().tcp().durable().data_in(&data))?;
    let url = cluster.url("postgres");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    report(runtime.block_on(measure(&url))?);
    sustained::run(&url)
}

/// The server runs as somebody else when this runs as root.
fn open_to_all(dir: &std::path::Path) -> Result<(), Failure> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    Ok(std::fs::set_permissions(dir, mode)?)
}

async fn measure(url: &str) -> Result<Rates, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let cx = BuildContext::detached("bench", std::env::temp_dir());
    let mut receiver = Postgres::build(Config::new(url), &cx).await?;
    let mut rates = Rates::default();
    // A round before the first fills caches, and is not counted.
    for round in 0..=ROUNDS {
        let messages = messages();
        clear(&client).await?;
        let stored = through_receiver(&mut receiver, &messages).await?;
        let parsing = parse(&messages)?;
        let rows = alone::rows(&client, MESSAGES).await?;
        clear(&client).await?;
        let copied = alone::copy(&client, rows).await?;
        clear(&client).await?;
        let inserted = alone::insert(&client, &messages[..SINGLE]).await?;
        if round > 0 {
            let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
            rates.receiver.push(rate(MESSAGES, stored));
            rates.without_parsing.push(rate(MESSAGES, stored - parsing));
            rates.copy.push(rate(MESSAGES, copied));
            rates.insert.push(rate(SINGLE, inserted));
        }
    }
    Ok(rates)
}

/// Each way begins with empty tables, and with a server that has nothing left to write.
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

/// How long it takes to make rows of the messages' JSON, which COPY alone has not to do.
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

fn report(rates: Rates) {
    println!(
        "Statistics of {} bytes into `eth_stats`, {MESSAGES} in a round, {BATCH} in a transaction, fsync on, medians of {ROUNDS}\n",
        STATISTICS.len()
    );
    let copy = median(rates.copy);
    let row = |what: &str, rates: Vec<f64>| {
        let rate = median(rates);
        vec![what.to_owned(), format!("{rate:.0}"), format!("{:.2}", rate / copy)]
    };
    let rows = [
        row("COPY alone, of rows that are encoded already", vec![copy]),
        row("`poa-receiver-postgres`", rates.receiver),
        row("the same, without the time to read the JSON", rates.without_parsing),
        row("one INSERT for each message", rates.insert),
    ];
    table(&["what", "rows/s", "of the yardstick"], &rows);
}
