//! One simulated agent: what it has to say, and when it is there to say it.

mod life;
mod machine;
mod node;

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use poa_agent::{AgentId, Metric};
use serde::Serialize;

pub(crate) use life::{Absence, Leave, Life};

use crate::chain::Chain;
use crate::seed::{around, derive};
use crate::wrap::{history, wrap};
use machine::Machine;
use node::Node;

/// The reports in their cyclic order; each agent starts at a different one.
const ROUND: [Report; 6] = [
    Report::System,
    Report::Block,
    Report::Ethereum,
    Report::Latency,
    Report::Block,
    Report::Pending,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    System,
    Ethereum,
    Block,
    Pending,
    Latency,
    /// The description of the node, sent first and after each return.
    Information,
    /// The blocks before. After the information.
    History,
}

/// The simulated measurements of an agent. The same seed gives the same metrics, apart from their keys.
#[derive(Debug)]
pub(crate) struct Simulated {
    id: AgentId,
    chain: Arc<Chain>,
    /// Seconds since 1970 at the fleet's start.
    start: f64,
    node: Node,
    machine: Machine,
    rng: Rng,
    /// Whole milliseconds to the server, on most days.
    usual_latency: f64,
    first: [Option<Report>; 2],
    history: usize,
    turn: usize,
    /// The number of the last block reported.
    reported: u64,
}

#[derive(Serialize)]
struct Latency {
    latency: u64,
}

impl Simulated {
    /// Agent number `index` of a fleet. `history` is how many blocks it reports at first.
    pub(crate) fn new(
        id: AgentId,
        chain: Arc<Chain>,
        (seed, index): (u64, u64),
        start: u64,
        history: usize,
    ) -> Self {
        let mut rng = derive(seed, "agent", index);
        let mut simulated = Self {
            id,
            chain,
            start: start as f64,
            node: Node::new(derive(seed, "node", index)),
            machine: Machine::new(derive(seed, "machine", index)),
            usual_latency: around(&mut rng, 20.0),
            turn: rng.usize(..ROUND.len()),
            rng,
            first: [None; 2],
            history,
            reported: 0,
        };
        simulated.introduce();
        simulated
    }

    pub(crate) const fn id(&self) -> &AgentId {
        &self.id
    }

    /// It was away, and introduces itself again.
    pub(crate) fn returned(&mut self, absence: &Absence) {
        self.node.returned(absence.from, absence.until, &self.chain);
        self.introduce();
    }

    /// The next metric, as of `at`: seconds since the fleet's start, never less than the last time.
    pub(crate) fn measure(&mut self, at: f64) -> Metric {
        self.node.look(at);
        match self.next_report() {
            Report::System => {
                let statistics = self.machine.statistics(at, self.start + at);
                metric("system_metrics", "statistics", &statistics)
            }
            Report::Ethereum => {
                metric("ethereum_metrics", "statistics", &self.node.statistics(at, &self.chain))
            }
            Report::Block => self.block(at),
            Report::Pending => self.pending(at),
            Report::Latency => {
                let latency = around(&mut self.rng, self.usual_latency) as u64;
                metric("networking_metrics", "latency", &Latency { latency })
            }
            Report::Information => {
                let information = self.node.information(self.id.as_str());
                metric("ethereum_metrics", "information", &information)
            }
            Report::History => self.history(at),
        }
    }

    fn introduce(&mut self) {
        let history = (self.history > 0).then_some(Report::History);
        self.first = [history, Some(Report::Information)];
    }

    fn next_report(&mut self) -> Report {
        if let Some(first) = self.first.iter_mut().rev().find_map(Option::take) {
            return first;
        }
        self.turn = (self.turn + 1) % ROUND.len();
        ROUND[self.turn]
    }

    /// The head, unless it was reported already.
    fn block(&mut self, at: f64) -> Metric {
        let head = self.node.head(at, &self.chain);
        if head.header.number <= self.reported {
            return self.pending(at);
        }
        self.reported = head.header.number;
        Metric::encoded("ethereum_metrics", head.data.clone())
    }

    fn pending(&mut self, at: f64) -> Metric {
        metric("ethereum_metrics", "pending", &self.node.pending(at, &self.chain))
    }

    fn history(&mut self, at: f64) -> Metric {
        let head = self.node.head(at, &self.chain).header.number;
        let blocks = self.chain.before(head, self.history);
        let bodies: Vec<&Bytes> = blocks.iter().map(|block| &block.body).collect();
        Metric::encoded("ethereum_metrics", wrap("history", &history(bodies.into_iter())))
    }
}

fn metric(data_type: &'static str, entity: &str, body: &impl Serialize) -> Metric {
    Metric::new(data_type, entity, body).expect("strings and numbers can always be encoded")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    const START: u64 = 1_795_282_524;
    const RECORDED: &str = include_str!("../../tests/fixtures/agent_wire.jsonl");

    fn agent(seed: u64, index: u64) -> Simulated {
        let chain = Arc::new(Chain::new(seed, START));
        Simulated::new("fleet-1".parse().unwrap(), chain, (seed, index), START, 3)
    }

    fn said(agent: &mut Simulated, count: u32) -> Vec<(String, Bytes)> {
        let metrics = (0..count).map(|n| agent.measure(f64::from(2 * n)));
        metrics.map(|metric| (metric.data_type().to_owned(), metric.data().clone())).collect()
    }

    fn value(data: &Bytes) -> Value {
        rmp_serde::from_slice(data).unwrap()
    }

    /// Every field of the one is in the other, with the same type, and none more.
    #[track_caller]
    fn assert_same_shape(sent: &Value, recorded: &Value, place: &str) {
        match (sent, recorded) {
            // Not at the moment of the recording, but other agents are not syncing.
            (Value::Bool(false), Value::Object(_)) if place.ends_with(".syncing") => {}
            (Value::Object(sent), Value::Object(recorded)) => {
                let names =
                    |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(sent), names(recorded), "{place}");
                for (name, value) in sent {
                    assert_same_shape(value, &recorded[name], &format!("{place}.{name}"));
                }
            }
            (Value::Array(sent), Value::Array(recorded)) => {
                for (value, like) in sent.iter().zip(recorded.iter().cycle()) {
                    assert_same_shape(value, like, &format!("{place}[]"));
                }
            }
            (Value::Number(sent), Value::Number(recorded)) => {
                assert_eq!(sent.is_f64(), recorded.is_f64(), "{place}: {sent}, {recorded}");
            }
            _ => assert_eq!(
                std::mem::discriminant(sent),
                std::mem::discriminant(recorded),
                "{place}: {sent}, {recorded}"
            ),
        }
    }

    #[test]
    fn all_that_a_real_agent_was_recorded_to_send_is_sent_in_the_same_shape() {
        let said = said(&mut agent(1, 0), 60);
        let mut checked = BTreeMap::new();
        for line in RECORDED.lines() {
            let recorded: Value = serde_json::from_str(line).unwrap();
            let (data_type, data) = (&recorded["body"]["type"], &recorded["body"]["data"]);
            if recorded["path"] != "/data" {
                continue;
            }
            let place = format!("{data_type} {}", data["type"]);
            let alike = said
                .iter()
                .filter(|(of, sent)| *data_type == **of && value(sent)["type"] == data["type"]);
            let count =
                alike.map(|(_, sent)| assert_same_shape(&value(sent), data, &place)).count();
            checked.insert(place, count);
        }
        assert_eq!(checked.len(), 7, "{checked:?}");
        assert!(checked.values().all(|count| *count > 0), "{checked:?}");
    }

    #[test]
    fn the_same_seed_says_the_same_and_another_one_something_else() {
        assert_eq!(said(&mut agent(1, 0), 100), said(&mut agent(1, 0), 100));
        assert_ne!(said(&mut agent(1, 0), 100), said(&mut agent(1, 1), 100));
        assert_ne!(said(&mut agent(1, 0), 100), said(&mut agent(2, 0), 100));
    }

    #[test]
    fn no_block_is_reported_twice_and_each_builds_on_one_before() {
        let said = said(&mut agent(1, 0), 500);
        let blocks: Vec<Value> = said
            .iter()
            .map(|(_, data)| value(data))
            .filter(|data| data["type"] == "block")
            .collect();
        let numbers: Vec<_> =
            blocks.iter().map(|block| block["body"]["number"].as_u64().unwrap()).collect();
        assert!(
            numbers.len() > 50 && numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{numbers:?}"
        );
        for pair in blocks.windows(2) {
            let [before, after] = [&pair[0]["body"], &pair[1]["body"]];
            if after["number"].as_u64() == before["number"].as_u64().map(|number| number + 1) {
                assert_eq!(after["parentHash"], before["hash"]);
            }
        }
    }

    #[test]
    fn it_introduces_itself_first_and_after_each_return() {
        let mut agent = agent(1, 0);
        let kinds = |said: Vec<(String, Bytes)>| -> Vec<String> {
            said.iter().map(|(_, data)| value(data)["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds(said(&mut agent, 2)), ["information", "history"]);
        agent.returned(&Absence { from: 10.0, until: 40.0, leave: Leave::Silence });
        assert_eq!(kinds(said(&mut agent, 2)), ["information", "history"]);
    }
}
