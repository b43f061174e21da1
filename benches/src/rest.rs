//! POST /data through poa's REST handler, against bare hyper.

use std::path::Path;
use std::time::Duration;

use crate::process::Server;
use crate::report::{median, table};
use crate::{Failure, load};

/// A metric of 250 bytes, as agents send them.
pub(crate) const BODY: &str = r#"{"id":"elixirNodeJSIntegration","type":"ethereum_metrics","data":{"type":"statistics","body":{"active":true,"gasPrice":1000000000,"hashrate":0,"mining":false,"peers":5,"syncing":{"currentBlock":"0x44ee0","highestBlock":"0x44ee2"},"uptime":100.0}}}"#;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 7;
const TIME: Duration = Duration::from_secs(3);

/// The servers, of which the first is the yardstick.
const SERVERS: [(&str, &str); 5] = [
    ("floor", "bare hyper, token looked up"),
    ("floor-hmac", "bare hyper, token verified each time"),
    ("poa-memory", "poa, `engine = memory`"),
    ("poa-log", "poa, `engine = log`, `ack = memory`"),
    ("poa-stored", "poa, `engine = log`, `ack = stored`"),
];

#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Rates divided by the yardstick's rate in the same round.
    ratio: Vec<f64>,
}

pub(crate) fn run(chart: Option<&Path>) -> Result<(), Failure> {
    let mut figures: [Figures; SERVERS.len()] = Default::default();
    // The first round warms up, and is not counted.
    for round in 0..=ROUNDS {
        let mut yardstick = None;
        for ((kind, _), figures) in SERVERS.iter().zip(&mut figures) {
            let server = Server::start(kind)?;
            let before = server.cpu()?;
            let seen = load::run(&server.address, &request(&server.token), CONNECTIONS, TIME)?;
            let cpu = (server.cpu()? - before).as_secs_f64();
            if round == 0 {
                continue;
            }
            let rate = seen.requests as f64 / seen.seconds;
            figures.ratio.push(rate / *yardstick.get_or_insert(rate));
            figures.rate.push(rate);
            figures.cpu.push(cpu / seen.requests as f64 * 1e6);
            figures.p50.push(seen.p50 as f64);
            figures.p99.push(seen.p99 as f64);
        }
    }
    if let Some(path) = chart {
        let rates = figures.iter().map(|figures| median(figures.rate.clone()));
        let bars: Vec<_> = SERVERS.iter().map(|(_, name)| *name).zip(rates).collect();
        crate::chart::write(path, "POST /data, requests per second", &bars)?;
    }
    print(figures);
    Ok(())
}

pub(crate) fn request(token: &str) -> Vec<u8> {
    format!(
        "POST /data HTTP/1.1\r\nHost: poa\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
    .into_bytes()
}

fn print(figures: [Figures; SERVERS.len()]) {
    println!(
        "POST /data, {} bytes of JSON, {CONNECTIONS} connections, medians of {ROUNDS} rounds of {} s\n",
        BODY.len(),
        TIME.as_secs()
    );
    let rows: Vec<_> = SERVERS
        .iter()
        .zip(figures)
        .map(|((_, name), figures)| {
            vec![
                (*name).to_owned(),
                format!("{:.0}", median(figures.rate)),
                format!("{:.2}", median(figures.ratio)),
                format!("{:.1}", median(figures.cpu)),
                format!("{:.0}", median(figures.p50)),
                format!("{:.0}", median(figures.p99)),
            ]
        })
        .collect();
    let head =
        ["server", "requests/s", "of the yardstick", "server CPU µs/request", "p50 µs", "p99 µs"];
    table(&head, &rows);
}
