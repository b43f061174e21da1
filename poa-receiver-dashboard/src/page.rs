//! Messages for pages: each has only the changes that the page does not know yet, however slow it is.

use poa_core::AgentId;
use serde::{Serialize, Serializer};

use crate::read::About;
use crate::state::{Agents, Condition, Live, View};

/// An update for a page. It is a copy, so that no lock is held while it is encoded as JSON.
#[derive(Debug)]
pub(crate) struct Page {
    /// The number of the last change in it.
    pub(crate) change: u64,
    /// Whether it contains any change.
    pub(crate) news: bool,
    body: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    /// The server's clock, milliseconds since 1970.
    now: u64,
    /// The number of metrics since the server was started.
    metrics: u64,
    /// Whether this is the complete state, which replaces everything the page has.
    whole: bool,
    agents: Vec<Row>,
    #[serde(serialize_with = "texts")]
    gone: Vec<AgentId>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(serialize_with = "text")]
    id: AgentId,
    state: Condition,
    since: u64,
    seen: u64,
    live: Live,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<Box<About>>,
}

impl Page {
    /// The changes after this one; `None` for the complete state.
    pub(crate) fn of(agents: &Agents, since: Option<u64>, metrics: u64) -> Self {
        let gone = since.and_then(|since| agents.gone_since(since));
        let whole = gone.is_none();
        let since = since.filter(|_| !whole).unwrap_or(0);
        let now = poa_core::Timestamp::now().as_micros() / 1000;
        let gone = gone.unwrap_or_default();
        let news = whole || agents.change() > since;
        let rows = if news { rows(agents, since) } else { Vec::new() };
        Self {
            change: agents.change(),
            news,
            body: Body { now, metrics, whole, agents: rows, gone },
        }
    }

    /// The message as JSON.
    pub(crate) fn json(&self) -> String {
        // Encoding cannot fail: it contains only numbers, texts and lists.
        serde_json::to_string(&self.body).unwrap_or_default()
    }
}

fn rows(agents: &Agents, since: u64) -> Vec<Row> {
    let changed = agents.changed_since(since);
    changed.map(|(id, view, introduced)| row(id, view, introduced)).collect()
}

fn row(id: &AgentId, view: &View, introduced: bool) -> Row {
    let about = if introduced { view.about.clone() } else { None };
    Row {
        id: id.clone(),
        state: view.state,
        since: view.since,
        seen: view.seen,
        live: view.live.clone(),
        about,
    }
}

fn text<S: Serializer>(id: &AgentId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

fn texts<S: Serializer>(ids: &[AgentId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(AgentId::as_str))
}
