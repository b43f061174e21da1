//! The bus on NATS JetStream: three servers that sync before they acknowledge, beside raw publishes and a raw reader in the same run.

mod node;
mod publish;
mod raw;
mod reading;
mod rows;
mod takeover;

use poa_test_nats::{Servers, Setup};

use crate::Failure;
use crate::process::scratch;
use crate::report::{median, table};
use raw::Raw;

/// How much is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Size {
    /// How many messages are published, and read, in a round
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// How many rounds there are
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many seconds agents send through each number of front ends
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

pub(crate) fn run(size: Size) -> Result<(), Failure> {
    let dir = scratch()?;
    let setup = Setup::cluster().set_jetstream("max_file_store: 1TB").store_in(dir.path());
    let mut servers = Servers::start(setup)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&mut servers, size))?;
    drop(runtime);
    // After the loads: at the end, one server has been killed.
    rows::run(&servers, size.seconds)?;
    takeover::run(&mut servers)
}

async fn measure(servers: &mut Servers, size: Size) -> Result<(), Failure> {
    let raw = Raw::connect(servers).await?;
    let mut all = Rates::default();
    // A round before the first fills caches, and is not counted.
    for round in 0..=size.rounds {
        let mut rates = publish::round(servers, &raw, size.messages).await?;
        rates.extend(reading::round(servers, &raw, size.messages).await?);
        if round > 0 || size.rounds == 0 {
            all.add(rates);
        }
    }
    all.report(size);
    Ok(())
}

/// A rate of one round, and the place of its yardstick among those of the round.
struct Rate {
    what: String,
    rate: f64,
    of: usize,
}

/// The rates of all rounds.
#[derive(Default)]
struct Rates(Vec<Vec<Rate>>);

impl Rates {
    fn add(&mut self, round: Vec<Rate>) {
        self.0.push(round);
    }

    fn report(&self, size: Size) {
        println!(
            "Three servers, `sync_interval: always`, {} messages of {} bytes in a round by {} agents in {} partitions, medians of {} rounds; messages/s\n",
            size.messages,
            node::BODY,
            node::AGENTS,
            raw::PARTITIONS,
            size.rounds
        );
        let Some(first) = self.0.first() else { return };
        let row = |(place, rate): (usize, &Rate)| {
            let rates = self.0.iter().map(|round| round[place].rate);
            // Rounds differ more than the two sides of a round.
            let ratios = self.0.iter().map(|round| round[place].rate / round[rate.of].rate);
            let (rates, ratios) = (median(rates.collect()), median(ratios.collect()));
            vec![rate.what.clone(), format!("{rates:.0}"), format!("{ratios:.2}")]
        };
        let rows: Vec<_> = first.iter().enumerate().map(row).collect();
        table(&["what", "messages/s", "of the yardstick"], &rows);
    }
}
