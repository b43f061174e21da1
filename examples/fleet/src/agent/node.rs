//! An Ethereum node: how far behind the head it is, whom it knows, what it does.

use std::sync::Arc;

use fastrand::Rng;
use serde::Serialize;

use crate::chain::{Block, Chain};
use crate::seed::{around, bell, hex};

/// Nodes seen in the wild, as they name themselves.
const CLIENTS: [&str; 4] = [
    "Parity//v1.10.0-stable/x86_64-linux-gnu/rustc1.25.0",
    "Parity//v1.10.6-stable-bfc9258-20180613/x86_64-linux-gnu/rustc1.26.1",
    "Parity-Ethereum//v2.0.5-stable-7c71fb4/x86_64-linux-gnu/rustc1.28.0",
    "Parity-Ethereum//v2.7.2-stable-2662d19/x86_64-unknown-linux-gnu/rustc1.41.0",
];

/// How far a node imports per second while it catches up.
const BLOCKS_PER_SECOND: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Node {
    rng: Rng,
    /// Seconds a block takes to reach it, on most days.
    lag: f64,
    /// The time of the last look, in seconds since the start.
    seen: f64,
    peers: u32,
    usual_peers: u32,
    /// Hashes per second; 0 for one that does not mine.
    hashrate: f64,
    /// Percent.
    uptime: f64,
    catching_up: Option<CatchingUp>,
}

/// After an absence: from where, and since when.
#[derive(Debug, Clone, Copy)]
struct CatchingUp {
    from: u64,
    since: f64,
}

/// `information`: who the node is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Information {
    api: &'static str,
    can_update_history: bool,
    client: &'static str,
    coinbase: String,
    contact: &'static str,
    ip: String,
    name: String,
    net: &'static str,
    node: &'static str,
    os: &'static str,
    #[serde(rename = "os_v")]
    os_version: &'static str,
    port: &'static str,
    protocol: u8,
}

/// `statistics` of `ethereum_metrics`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statistics {
    active: bool,
    gas_price: u64,
    hashrate: u64,
    mining: bool,
    peers: u32,
    syncing: Syncing,
    uptime: f64,
}

/// `false`, or how far the node is. Numbers are hexadecimal text, as nodes give them.
#[derive(Serialize)]
#[serde(untagged)]
enum Syncing {
    Done(bool),
    #[serde(rename_all = "camelCase")]
    Behind {
        current_block: String,
        highest_block: String,
        starting_block: String,
    },
}

#[derive(Serialize)]
pub(super) struct Pending {
    pending: u64,
}

impl Node {
    pub(super) fn new(mut rng: Rng) -> Self {
        let usual_peers = rng.u32(4..=25);
        let mines = rng.f64() < 0.3;
        Self {
            lag: around(&mut rng, 0.8),
            seen: 0.0,
            peers: usual_peers,
            usual_peers,
            hashrate: if mines { 10_f64.powf(6.0 + 4.0 * rng.f64()) } else { 0.0 },
            uptime: 100.0,
            catching_up: None,
            rng,
        }
    }

    /// Lets time pass: peers come and go, miners find more or less.
    pub(super) fn look(&mut self, at: f64) {
        let seconds = (at - self.seen).clamp(0.0, 60.0);
        self.seen = at;
        // A peer about every ten seconds, rather coming when few are there, rather going when many are.
        if self.rng.f64() < seconds / 10.0 {
            let come = f64::from(self.usual_peers) / f64::from(self.usual_peers + self.peers);
            let one_more = self.rng.f64() < come;
            self.peers = if one_more { self.peers + 1 } else { self.peers.saturating_sub(1) };
        }
        self.hashrate *= (0.01 * bell(&mut self.rng)).exp();
    }

    /// It was away: it has missed blocks, and its uptime shows it.
    pub(super) fn returned(&mut self, left: f64, at: f64, chain: &Chain) {
        let away = at - left;
        self.uptime = (self.uptime * at / (at + away)).clamp(0.0, 100.0);
        self.peers = self.usual_peers.min(1);
        let from = chain.head(left).header.number;
        self.catching_up = Some(CatchingUp { from, since: at });
    }

    /// The last block that has reached it.
    pub(super) fn head(&mut self, at: f64, chain: &Chain) -> Arc<Block> {
        let lag = self.lag * (0.25 * bell(&mut self.rng)).exp();
        chain.head((at - lag).max(0.0))
    }

    pub(super) fn statistics(&mut self, at: f64, chain: &Chain) -> Statistics {
        let head = self.head(at, chain);
        // Nodes do not quite agree on the price.
        let gas_price = head.gas_price as f64 * (1.0 + 0.02 * bell(&mut self.rng));
        Statistics {
            active: true,
            gas_price: gas_price as u64,
            hashrate: self.hashrate as u64,
            mining: self.hashrate > 0.0,
            peers: self.peers,
            syncing: self.syncing(at, head.header.number),
            uptime: self.uptime,
        }
    }

    fn syncing(&mut self, at: f64, highest: u64) -> Syncing {
        let Some(CatchingUp { from, since }) = self.catching_up else {
            return Syncing::Done(false);
        };
        let current = from + ((at - since) * BLOCKS_PER_SECOND) as u64;
        if current >= highest {
            self.catching_up = None;
            return Syncing::Done(false);
        }
        let text = |number: u64| format!("{number:#x}");
        Syncing::Behind {
            current_block: text(current),
            highest_block: text(highest),
            starting_block: text(from),
        }
    }

    pub(super) fn pending(&mut self, at: f64, chain: &Chain) -> Pending {
        Pending { pending: self.head(at, chain).pending + self.rng.u64(0..=3) }
    }

    pub(super) fn information(&mut self, name: &str) -> Information {
        Information {
            api: "",
            can_update_history: true,
            client: "0.1.0",
            coinbase: hex(&mut self.rng, 20),
            contact: "fleet@example.com",
            // Addresses for documentation, RFC 5737.
            ip: format!("192.0.2.{}", self.rng.u8(1..=254)),
            name: name.to_owned(),
            net: "77",
            node: CLIENTS[self.rng.usize(..CLIENTS.len())],
            os: "linux",
            os_version: "6.1.0",
            port: "",
            protocol: 63,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::seed::derive;

    fn statistics(node: &mut Node, at: f64, chain: &Chain) -> Value {
        node.look(at);
        serde_json::to_value(node.statistics(at, chain)).unwrap()
    }

    #[test]
    fn peers_come_and_go_around_the_usual_number() {
        let chain = Chain::new(1, 1_795_282_524);
        let mut node = Node::new(derive(1, "node", 0));
        let usual = u64::from(node.usual_peers);
        let peers: Vec<_> = (0..2000)
            .map(|n| statistics(&mut node, f64::from(5 * n), &chain)["peers"].as_u64().unwrap())
            .collect();
        assert!(peers.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 1));
        assert!(peers.iter().any(|peers| *peers != usual));
        let mean = peers.iter().sum::<u64>() / 2000;
        assert!(mean.abs_diff(usual) <= 1 + usual / 3, "{mean} of usually {usual}");
    }

    #[test]
    fn one_that_was_away_syncs_until_it_has_caught_up() {
        let chain = Chain::new(1, 1_795_282_524);
        let mut node = Node::new(derive(1, "node", 0));
        assert_eq!(statistics(&mut node, 10.0, &chain)["syncing"], json!(false));
        node.returned(10.0, 310.0, &chain);
        let behind = statistics(&mut node, 311.0, &chain);
        let number = |name: &str| {
            let text = behind["syncing"][name].as_str().unwrap();
            u64::from_str_radix(&text[2..], 16).unwrap()
        };
        assert!(number("startingBlock") <= number("currentBlock"));
        assert!(number("currentBlock") < number("highestBlock"));
        assert!(behind["uptime"].as_f64().unwrap() < 100.0);
        assert_eq!(statistics(&mut node, 400.0, &chain)["syncing"], json!(false));
    }
}
