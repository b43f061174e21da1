//! The page that shows the networks of this host: its files, and what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{ACCEPT, LOCATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use poa_core::Timestamp;
use poa_leviathan::{Leviathan, view};
use poa_page::{Answer, Asset, Files};
use serde_json::{Map, Value, json};

use crate::conversation::Talk;

/// The path of the page, below that of the monitor: `/` is an unknown path to programs.
const HOME: &str = "/leviathan/";
/// The subprotocol with which the page asks for the state of all networks instead of a monitor.
pub(crate) const PROTOCOL: &str = "poa-leviathan-page";

const OWN: [Asset; 7] = [
    Asset::html(HOME, include_bytes!("../page/index.html")),
    Asset::css("/leviathan/page.css", include_bytes!("../page/page.css")),
    Asset::script("/leviathan/main.js", include_bytes!("../page/main.js")),
    Asset::script("/leviathan/networks.js", include_bytes!("../page/networks.js")),
    Asset::script("/leviathan/picture.js", include_bytes!("../page/picture.js")),
    Asset::script("/leviathan/detail.js", include_bytes!("../page/detail.js")),
    Asset::script("/leviathan/api.js", include_bytes!("../page/api.js")),
];

fn assets() -> impl Iterator<Item = Asset> {
    OWN.into_iter().chain(poa_page::shared(HOME))
}

/// Whether a file of the page is at this path, or leads to it.
pub(crate) fn is_page(path: &str) -> bool {
    path == HOME.trim_end_matches('/')
        || path.starts_with(HOME) && assets().any(|asset| asset.path() == path)
}

/// Whether a handshake asks for the state of all networks.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|protocol| protocol.trim() == PROTOCOL)
}

/// The files. They contain no secret: every browser may have them.
pub(crate) struct Page(Files);

impl Page {
    pub(crate) fn new() -> Self {
        Self(Files::new(assets(), &[]))
    }

    /// The answer to a browser that asks for a file of the page.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Option<Answer> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        match request.uri().path() {
            // The location is relative, since a proxy can have this elsewhere.
            "/leviathan" => Some(elsewhere("leviathan/")),
            "/" if is_browser(request.headers()) => Some(elsewhere("leviathan/")),
            path => self.0.get(path, request.headers()),
        }
    }
}

fn elsewhere(location: &'static str) -> Answer {
    let mut answer = poa_page::empty(StatusCode::TEMPORARY_REDIRECT);
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
    answer
}

/// Whether a person looks: programs do not ask for HTML.
fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The networks as the page knows them.
pub(crate) struct Shown {
    leviathan: Leviathan,
    known: Option<State>,
}

/// CENs, CINs and containers, as the REST interface shows them, by id.
#[derive(Default)]
struct State {
    cens: BTreeMap<String, Value>,
    cins: BTreeMap<String, Value>,
    containers: BTreeMap<String, Value>,
}

impl Shown {
    pub(crate) fn new(leviathan: Leviathan) -> Self {
        Self { leviathan, known: None }
    }

    fn look(&self) -> State {
        let (model, missing) = (self.leviathan.model(), self.leviathan.missing());
        let host = self.leviathan.host();
        let cens = model
            .cens()
            .keys()
            .map(|id| (id.to_string(), view::cen(&model, &missing, id.as_str())));
        let cins = model.cins().keys().map(|id| (id.to_string(), view::cin(&model, id.as_str())));
        let containers = model.containers().keys();
        let containers =
            containers.map(|id| (id.to_string(), view::container(&model, host, id.as_str())));
        State { cens: known(cens), cins: known(cins), containers: known(containers) }
    }
}

/// Those that have a view. All have: they are in the model.
fn known<E>(views: impl Iterator<Item = (String, Result<Value, E>)>) -> BTreeMap<String, Value> {
    views.filter_map(|(id, view)| Some((id, view.ok()?))).collect()
}

impl Talk for Shown {
    const BEAT: Duration = Duration::from_secs(2);
    const GAP: Duration = Duration::from_millis(100);

    fn answer(&mut self, _: &[u8]) -> Option<String> {
        None
    }

    /// The state of all networks at first, then what differs from it.
    fn news(&mut self) -> Vec<String> {
        let now = self.look();
        let is_whole = self.known.is_none();
        let before = self.known.take().unwrap_or_default();
        let mut frame = Map::new();
        for (kind, before, now) in [
            ("cens", &before.cens, &now.cens),
            ("cins", &before.cins, &now.cins),
            ("containers", &before.containers, &now.containers),
        ] {
            let changes = changes(before, now);
            if is_whole || !changes.is_empty() {
                frame.insert(kind.to_owned(), changes.into());
            }
        }
        self.known = Some(now);
        if frame.is_empty() {
            return Vec::new();
        }
        frame.insert("whole".to_owned(), is_whole.into());
        frame.insert("host".to_owned(), self.leviathan.host().into());
        frame.insert("now".to_owned(), milliseconds().into());
        vec![Value::Object(frame).to_string()]
    }

    /// Shows the page that it is connected.
    fn beat(&mut self) -> Option<String> {
        Some(json!({"now": milliseconds()}).to_string())
    }
}

/// The views that are new or differ; `null` for those that are gone.
fn changes(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Map<String, Value> {
    let gone = before.keys().filter(|id| !now.contains_key(*id));
    let gone = gone.map(|id| (id.clone(), Value::Null));
    let fresh = now.iter().filter(|(id, view)| before.get(*id) != Some(view));
    gone.chain(fresh.map(|(id, view)| (id.clone(), view.clone()))).collect()
}

fn milliseconds() -> u64 {
    Timestamp::now().as_micros() / 1000
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use poa_leviathan::document::CenDocument;
    use poa_leviathan::executor::Recorder;
    use poa_leviathan::store::MemoryStore;
    use poa_leviathan::{ContainerId, Options};

    use super::*;

    async fn lab() -> (Recorder, Leviathan) {
        let recorder = Recorder::new("host1");
        let executor = Arc::new(recorder.clone());
        let store = Box::new(MemoryStore::default());
        let leviathan = Leviathan::open(Options::default(), executor, store).unwrap();
        let document = br#"{"cenList":[{"cenID":"a","containerIDs":["x","y"]},{"cenID":"b","containerIDs":["y"]}]}"#;
        leviathan.import_cens(CenDocument::parse(document).unwrap()).await.unwrap();
        leviathan.make_cens(&["a".to_owned()]).await.unwrap().wait().await;
        (recorder, leviathan)
    }

    fn frame(shown: &mut Shown) -> Option<Value> {
        let frame = shown.news().pop()?;
        Some(serde_json::from_str(&frame).unwrap())
    }

    #[tokio::test]
    async fn the_first_frame_has_everything() {
        let (_, leviathan) = lab().await;
        let first = frame(&mut Shown::new(leviathan)).unwrap();
        assert_eq!((&first["whole"], &first["host"]), (&json!(true), &json!("host1")));
        assert_eq!((&first["cens"]["a"]["status"], &first["cins"]), (&json!("ready"), &json!({})));
        assert_eq!(first["containers"]["y"]["cens"], json!(["a", "b"]));
        assert!(first["now"].as_u64() > Some(1_700_000_000_000));
    }

    #[tokio::test]
    async fn later_frames_have_what_differs() {
        let (_, leviathan) = lab().await;
        let mut shown = Shown::new(leviathan.clone());
        assert!(frame(&mut shown).is_some());
        assert_eq!(frame(&mut shown), None, "nothing differs");
        leviathan.delete_cen("b").await.unwrap();
        let next = frame(&mut shown).unwrap();
        assert_eq!((&next["whole"], &next["cens"]), (&json!(false), &json!({"b": null})));
        assert_eq!(next["containers"]["y"]["cens"], json!(["a"]));
        assert!(next["containers"].get("x").is_none() && next.get("cins").is_none(), "{next}");
    }

    #[tokio::test]
    async fn a_container_that_stops_is_shown() {
        let (recorder, leviathan) = lab().await;
        let mut shown = Shown::new(leviathan.clone());
        assert!(frame(&mut shown).is_some());
        let mut missing = leviathan.watch_missing();
        recorder.remove_container(&ContainerId::new("x").unwrap());
        leviathan.reconcile().await;
        assert!(missing.has_changed().unwrap(), "a page that is shown now is woken");
        assert_eq!(missing.borrow_and_update().len(), 1);
        assert_eq!(frame(&mut shown).unwrap()["cens"]["a"]["missing"], json!(["x"]));
        recorder.restore_container(&ContainerId::new("x").unwrap());
        leviathan.reconcile().await;
        assert_eq!(frame(&mut shown).unwrap()["cens"]["a"].get("missing"), None);
    }

    #[test]
    fn programs_find_nothing_at_the_root() {
        let page = Page::new();
        let ask = |path: &str, accept: &str| {
            let request = Request::get(path).header(ACCEPT, accept).body(()).unwrap();
            page.answer(&request).map(|answer| answer.status().as_u16())
        };
        assert_eq!(ask("/", "text/html,application/xhtml+xml;q=0.9"), Some(307));
        assert_eq!(ask("/", "*/*"), None);
        assert_eq!(ask("/leviathan", "*/*"), Some(307));
        assert_eq!(ask("/leviathan/", "*/*"), Some(200));
        assert_eq!(ask("/leviathan/monitor", "*/*"), None);
    }
}
