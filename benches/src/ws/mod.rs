//! Data calls over WebSocket against REST, and the cost of idle connections.

pub(crate) mod fleet;
mod idle;
mod load;
mod serve;

use std::time::Duration;

use crate::process::Server;
use crate::report::{median, table};
use crate::{Failure, rest};

pub(crate) use serve::serve;

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(3);

/// Calls that one client has in flight, over all its connections.
const UNDER_WAY: usize = 1024;

/// The numbers of connections to compare.
const CONNECTIONS: [usize; 2] = [1, 64];

#[derive(Default)]
struct Figures {
    rest: Vec<f64>,
    ws: Vec<f64>,
    ratio: Vec<f64>,
    rest_cpu: Vec<f64>,
    ws_cpu: Vec<f64>,
}

pub(crate) fn run() -> Result<(), Failure> {
    throughput()?;
    idle::run()
}

fn throughput() -> Result<(), Failure> {
    let mut figures: [Figures; CONNECTIONS.len()] = Default::default();
    // The first round warms up, and is not counted.
    for round in 0..=ROUNDS {
        for (connections, figures) in CONNECTIONS.into_iter().zip(&mut figures) {
            let (rest, rest_cpu) = over_rest(connections)?;
            let (ws, ws_cpu) = over_ws(connections)?;
            if round > 0 {
                figures.rest.push(rest);
                figures.ws.push(ws);
                figures.ratio.push(ws / rest);
                figures.rest_cpu.push(rest_cpu);
                figures.ws_cpu.push(ws_cpu);
            }
        }
    }
    println!(
        "Data calls of {} bytes of JSON, `engine = log`, `ack = stored`; over WebSocket {UNDER_WAY} calls in flight, over REST one for each connection; medians of {ROUNDS} rounds of {} s\n",
        rest::BODY.len(),
        TIME.as_secs()
    );
    let rows: Vec<_> = CONNECTIONS.into_iter().zip(figures).map(row).collect();
    let head = [
        "connections",
        "REST/s",
        "WebSocket/s",
        "ratio",
        "REST CPU µs/call",
        "WebSocket CPU µs/call",
    ];
    table(&head, &rows);
    Ok(())
}

fn row((connections, figures): (usize, Figures)) -> Vec<String> {
    vec![
        connections.to_string(),
        format!("{:.0}", median(figures.rest)),
        format!("{:.0}", median(figures.ws)),
        format!("{:.2}", median(figures.ratio)),
        format!("{:.1}", median(figures.rest_cpu)),
        format!("{:.1}", median(figures.ws_cpu)),
    ]
}

/// Requests per second, and microseconds of the server's processor time for each.
fn over_rest(connections: usize) -> Result<(f64, f64), Failure> {
    let server = Server::start("poa-stored")?;
    let before = server.cpu()?;
    let request = rest::request(&server.token);
    let seen = crate::load::run(&server.address, &request, connections, TIME)?;
    let cpu = (server.cpu()? - before).as_secs_f64();
    Ok((seen.requests as f64 / seen.seconds, cpu / seen.requests as f64 * 1e6))
}

fn over_ws(connections: usize) -> Result<(f64, f64), Failure> {
    let server = Server::start("poa-ws")?;
    let before = server.cpu()?;
    let seen =
        load::run(&server.address, &server.token, connections, UNDER_WAY / connections, TIME)?;
    let cpu = (server.cpu()? - before).as_secs_f64();
    Ok((seen.calls as f64 / seen.seconds, cpu / seen.calls as f64 * 1e6))
}
