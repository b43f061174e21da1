//! The state of everything in one answer, as the page shows it.

use http::Request;
use poa_gilmour::engine::State;
use poa_http::Body;
use serde_json::{Map, Value, json};

use super::{Answer, Api, Refusal, ok};

/// How many nodes, and how many topics, are in an answer. `contains` finds the others.
const MOST: usize = 200;

impl Api {
    /// Counts of everything; of the nodes and topics whose names contain the text after `?contains=` the first.
    pub(super) fn overview(&self, request: &Request<Body>) -> Result<Answer, Refusal> {
        self.access.check(request.headers())?;
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let contains = pairs.find(|(name, _)| name == "contains");
        let contains = contains.map(|(_, text)| text.into_owned()).unwrap_or_default();
        let gateway = &self.gateway;
        let topics = gateway.topics.list(&contains, MOST);
        let mut answer = json!({
            "engine": self.engine(),
            "states": self.states(),
            "total": topics.total,
            "topics": {"matching": topics.matching, "shown": topics.shown},
            "nodes": self.nodes(&contains),
        });
        answer["bus"] = gateway.bus.counted();
        Ok(ok(&answer))
    }

    fn engine(&self) -> Value {
        let engine = &self.gateway.engine;
        let counts: Map<_, _> =
            engine.counts().all().map(|(name, count)| (name.to_owned(), json!(count))).collect();
        let down = match &*engine.state().borrow() {
            State::Down(why) => Some(why.to_string()),
            _ => None,
        };
        json!({"name": engine.name(), "down": down, "counts": counts})
    }

    fn states(&self) -> Value {
        let counted = self.gateway.counted();
        counted.iter().map(|(status, count)| (status.name().to_owned(), json!(count))).collect()
    }

    fn nodes(&self, contains: &str) -> Value {
        let up = self.gateway.engine_is_up();
        let mut all = self.gateway.all();
        all.retain(|node| node.agent.as_str().contains(contains) || node.serves(contains));
        let shown: Vec<_> = all.iter().take(MOST).map(|node| node.summary(up)).collect();
        json!({"matching": all.len(), "shown": shown})
    }
}
