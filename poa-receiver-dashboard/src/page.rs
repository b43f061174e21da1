//! What the page is told: only what it does not know yet, however slow it is.

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

use crate::read::About;
use crate::state::{Agents, Condition, Live, View};

/// A message to the page.
#[derive(Debug)]
pub(crate) struct Page {
    /// The last change that is in it.
    pub(crate) change: u64,
    /// Whether there is any change in it.
    pub(crate) news: bool,
    /// The message itself, JSON.
    pub(crate) json: String,
}

#[derive(Serialize)]
struct Body<'a> {
    /// The server's clock, milliseconds since 1970.
    now: u64,
    /// Metrics since the server was started.
    metrics: u64,
    /// Whether this is all there is, and everything else is to be forgotten.
    whole: bool,
    agents: Rows<'a>,
    gone: Vec<&'a str>,
}

/// The agents that changed, written without a list of them being made.
struct Rows<'a> {
    agents: &'a Agents,
    since: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    state: Condition,
    since: u64,
    seen: u64,
    live: &'a Live,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'a About>,
}

impl Page {
    /// What changed since this change; `None` for everything.
    pub(crate) fn of(agents: &Agents, since: Option<u64>, metrics: u64) -> Self {
        let gone = since.and_then(|since| agents.gone_since(since));
        let whole = gone.is_none();
        let since = since.filter(|_| !whole).unwrap_or(0);
        let now = poa_core::Timestamp::now().as_micros() / 1000;
        let gone = gone.unwrap_or_default();
        let body = Body { now, metrics, whole, agents: Rows { agents, since }, gone };
        // Nothing in it can fail to be JSON: numbers, texts and lists.
        let json = serde_json::to_string(&body).unwrap_or_default();
        Self { change: agents.change(), news: whole || agents.change() > since, json }
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(None)?;
        for (id, view, introduced) in self.agents.changed_since(self.since) {
            rows.serialize_element(&row(id, view, introduced))?;
        }
        rows.end()
    }
}

fn row<'a>(id: &'a str, view: &'a View, introduced: bool) -> Row<'a> {
    let about = view.about.as_deref().filter(|_| introduced);
    Row { id, state: view.state, since: view.since, seen: view.seen, live: &view.live, about }
}
