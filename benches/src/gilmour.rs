//! The Gilmour gateway against a bare reverse proxy, and its engines against what carries them.

pub(crate) mod hop;
mod library;
mod nodes;
mod outage;
mod raw_redis;

use std::time::Duration;

use poa_test_nats::{Servers, Setup};
use poa_test_redis::Server as Redis;

use crate::bundled::Bundled;
use crate::process::{Server, scratch};
use crate::report::{median, table};
use crate::{Failure, load};

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;

/// Requests through a gateway, signals, compositions, the memory of nodes, and what an outage of the broker does.
pub(crate) fn run() -> Result<(), Failure> {
    let (mut redis, mut nats) = (Redis::new(), Servers::start(Setup::single().lazy())?);
    hops(&redis, &nats)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(library::run(&redis, &nats))?;
    nodes::run()?;
    runtime.block_on(library::outages(&mut redis, &mut nats))
}

/// A way from the client to the node.
struct Way {
    name: &'static str,
    address: String,
    request: String,
    seen: Vec<load::Seen>,
}

fn hops(redis: &Redis, nats: &Servers) -> Result<(), Failure> {
    let node = Server::start("gilmour-node")?;
    // The proxy finds it there.
    let proxy = Server::start_with("gilmour-proxy", &[(hop::NODE, &node.address)])?;
    let mut ways = vec![Way {
        name: "bare hyper reverse proxy",
        request: hop::request(&proxy.address, "/"),
        address: proxy.address.clone(),
        seen: Vec::new(),
    }];
    let mut gateways = Vec::new();
    for (name, engine) in [
        ("gateway, `engine = memory`", "engine = \"memory\"".to_owned()),
        ("gateway, `engine = redis`", format!("engine = \"redis\"\nurl = \"{}\"", redis.url())),
        ("gateway, `engine = nats`", format!("engine = \"nats\"\nurl = \"{}\"", nats.url(0))),
    ] {
        let dir = scratch()?;
        nodes::configure(dir.path(), &engine)?;
        let server = Bundled::start(dir.path())?;
        let address = server.url("gilmour")?.trim_start_matches("http://").to_owned();
        let id =
            nodes::register(&address, &nodes::body(&node.address, "echo", &["echo".to_owned()])?)?;
        let request = hop::request(&address, &format!("/request/{id}"));
        ways.push(Way { name, request, address, seen: Vec::new() });
        gateways.push((server, dir));
    }
    for _ in 0..ROUNDS {
        for way in &mut ways {
            way.seen.push(load::run(&way.address, way.request.as_bytes(), CONNECTIONS, TIME)?);
        }
    }
    show(&ways);
    Ok(())
}

fn show(ways: &[Way]) {
    println!(
        "A request of 40 bytes to a node that answers at once, {CONNECTIONS} connections, medians of {ROUNDS} rounds of {} s\n",
        TIME.as_secs()
    );
    let rate = |way: &Way| median(way.seen.iter().map(|s| s.requests as f64 / s.seconds).collect());
    let yardstick = rate(&ways[0]);
    let rows: Vec<_> = ways
        .iter()
        .map(|way| {
            vec![
                way.name.to_owned(),
                format!("{:.0}", rate(way)),
                format!("{:.2}", rate(way) / yardstick),
                format!("{:.0}", median(way.seen.iter().map(|s| s.p50 as f64).collect())),
                format!("{:.0}", median(way.seen.iter().map(|s| s.p99 as f64).collect())),
            ]
        })
        .collect();
    table(&["way", "requests/s", "of the yardstick", "p50 µs", "p99 µs"], &rows);
}
