//! Appending with fsync: the log against raw group-committed writes of the same bytes, and against embedded stores.

mod publishers;
mod recovery;
mod stores;

use std::time::Duration;

use crate::Failure;
use crate::process::scratch;
use crate::report::{median, table};
use publishers::{Measured, measure};
use stores::{STORES, open};

/// A record as the bus writes it for a metric of 250 bytes.
const RECORD: usize = 300;
const PUBLISHERS: [usize; 3] = [1, 64, 1024];
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

/// A store of records.
trait Store: Send + 'static {
    /// Stores these records. They are durable when this returns.
    fn commit(&mut self, records: &[Box<[u8]>]) -> Result<(), Failure>;
}

pub(crate) fn run() -> Result<(), Failure> {
    println!(
        "Records of {RECORD} bytes, each publisher waits for its fsync; medians of {ROUNDS} rounds of {} s\n",
        TIME.as_secs()
    );
    for publishers in PUBLISHERS {
        println!("{publishers} concurrent publishers\n");
        compare(publishers)?;
    }
    recovery::run()
}

#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    ratio: Vec<f64>,
    group: Vec<f64>,
    amplification: Vec<f64>,
}

fn compare(publishers: usize) -> Result<(), Failure> {
    let mut figures: Vec<Figures> = STORES.iter().map(|_| Figures::default()).collect();
    for _ in 0..ROUNDS {
        let mut yardstick = None;
        for (kind, figures) in STORES.iter().zip(&mut figures) {
            let dir = scratch()?;
            let measured = measure(open(kind, dir.path())?, publishers, TIME)?;
            note(figures, &measured, &mut yardstick);
        }
    }
    let rows: Vec<_> = STORES
        .iter()
        .zip(figures)
        .map(|(name, figures)| {
            vec![
                (*name).to_owned(),
                format!("{:.0}", median(figures.rate)),
                format!("{:.2}", median(figures.ratio)),
                format!("{:.1}", median(figures.group)),
                format!("{:.2}", median(figures.amplification)),
            ]
        })
        .collect();
    table(&["store", "records/s", "of raw writes", "records/fsync", "bytes written/byte"], &rows);
    Ok(())
}

fn note(figures: &mut Figures, measured: &Measured, yardstick: &mut Option<f64>) {
    let rate = measured.records as f64 / measured.seconds;
    figures.rate.push(rate);
    figures.ratio.push(rate / *yardstick.get_or_insert(rate));
    figures.group.push(measured.records as f64 / measured.groups as f64);
    figures.amplification.push(measured.written as f64 / (measured.records * RECORD as u64) as f64);
}
