//! The protocol of the monitor: frames in, frames out. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::{CenId, CinId, ContainerId, Model};

/// One connection: at most one monitor.
#[derive(Debug, Default)]
pub struct Monitor {
    current: Option<Watching>,
}

#[derive(Debug)]
struct Watching {
    id: String,
    request: Request,
    entries: BTreeMap<ContainerId, Entry>,
}

/// The request of a client.
#[derive(Clone, Debug)]
struct Request {
    cin: CinId,
    tag: Option<String>,
    creations: bool,
    destructions: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    address: Ipv4Addr,
    tag: Option<String>,
}

impl Monitor {
    /// A connection without a monitor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer to a text frame: a response or an error, never nothing.
    pub fn text(&mut self, frame: &[u8], model: &Model) -> String {
        let request: Value = match serde_json::from_slice(frame) {
            Ok(request) => request,
            Err(error) => return refuse(&Value::Null, &format!("invalid JSON: {error}")),
        };
        let sequence = request.get("sequence").cloned().unwrap_or_default();
        match self.start(&request, model) {
            Ok(response) => {
                json!({"type": "response", "sequence": sequence, "response": response}).to_string()
            }
            Err(message) => refuse(&sequence, &message),
        }
    }

    fn start(&mut self, request: &Value, model: &Model) -> Result<Value, String> {
        let invalid = || "invalid request".to_owned();
        let object = request.as_object().filter(|object| object.contains_key("sequence"));
        let object = object.ok_or_else(invalid)?;
        let is = |key: &str, value: &str| object.get(key).and_then(Value::as_str) == Some(value);
        if !is("type", "start") || !is("monitor", "CIN") {
            return Err(invalid());
        }
        let parameters = object.get("parameters").and_then(Value::as_object).ok_or_else(invalid)?;
        let request = Request::read(parameters, model)?;
        let id = self.id_for(object.get("monitorID"))?;
        let entries = request.entries(model);
        let state = describe(entries.iter());
        self.current = Some(Watching { id: id.clone(), request, entries });
        Ok(json!({"monitorID": id, "state": state}))
    }

    /// The id of the current monitor if that is named, else a new one.
    fn id_for(&self, named: Option<&Value>) -> Result<String, String> {
        match named {
            None | Some(Value::Null) => Ok(fresh_id()),
            Some(Value::String(id)) => match &self.current {
                Some(current) if current.id == *id => Ok(id.clone()),
                _ => Err(format!("unknown monitorID: {id}")),
            },
            Some(_) => Err("invalid request".to_owned()),
        }
    }

    /// The events that a change of the model makes. None for what the client did not ask for; never an empty one.
    pub fn changed(&mut self, model: &Model) -> Vec<String> {
        let Some(watching) = &mut self.current else { return Vec::new() };
        let now = watching.request.entries(model);
        let before = std::mem::replace(&mut watching.entries, now);
        let now = &watching.entries;
        let fresh = now.iter().filter(|(id, entry)| {
            before.get(*id).is_none_or(|known| known.address != entry.address)
        });
        let gone = before.iter().filter(|(id, _)| !now.contains_key(*id));
        let mut events = Vec::new();
        let request = &watching.request;
        if request.destructions {
            events.extend(event(&watching.id, "destroy", describe(gone)));
        }
        if request.creations {
            events.extend(event(&watching.id, "create", describe(fresh)));
        }
        events
    }
}

impl Request {
    fn read(parameters: &Map<String, Value>, model: &Model) -> Result<Self, String> {
        let invalid = || "invalid request".to_owned();
        let name = parameters.get("cinID").and_then(Value::as_str).ok_or_else(invalid)?;
        let tag = match parameters.get("container_tag") {
            None | Some(Value::Null) => None,
            Some(Value::String(tag)) => Some(tag.clone()),
            Some(_) => return Err(invalid()),
        };
        let kinds = kinds(parameters.get("events")).ok_or_else(invalid)?;
        let cin = find(model, name).ok_or_else(|| format!("unknown CIN: {name}"))?;
        let (creations, destructions) = (kinds.contains("create"), kinds.contains("destroy"));
        Ok(Self { cin, tag, creations, destructions })
    }

    fn entries(&self, model: &Model) -> BTreeMap<ContainerId, Entry> {
        let addresses = model.addresses(&self.cin).into_iter();
        let entries = addresses.map(|address| {
            let container = model.containers().get(&address.container);
            let tag = container.and_then(|container| container.tag()).map(str::to_owned);
            (address.container, Entry { address: address.ip, tag })
        });
        entries.filter(|(_, entry)| self.tag.is_none() || entry.tag == self.tag).collect()
    }
}

fn kinds(events: Option<&Value>) -> Option<BTreeSet<&str>> {
    let Some(events) = events else { return Some(BTreeSet::from(["create"])) };
    let kinds: Option<BTreeSet<&str>> = events.as_array()?.iter().map(Value::as_str).collect();
    kinds.filter(|kinds| kinds.iter().all(|kind| ["create", "destroy"].contains(kind)))
}

/// The CIN of a name. Old clients name the CEN below it.
fn find(model: &Model, name: &str) -> Option<CinId> {
    match model.cins().get_key_value(name) {
        Some((id, _)) => Some(id.clone()),
        None => model.cin_over(&CenId::new(name).ok()?).cloned(),
    }
}

/// The highest container id first.
fn describe<'e>(
    entries: impl DoubleEndedIterator<Item = (&'e ContainerId, &'e Entry)>,
) -> Vec<Value> {
    let entries = entries.rev().map(
        |(id, entry)| json!({"containerID": id, "ipaddress": entry.address, "tag": entry.tag}),
    );
    entries.collect()
}

fn event(id: &str, kind: &str, message: Vec<Value>) -> Option<String> {
    let event = json!({"type": "event", "monitorID": id, "event": kind, "message": message});
    (!message.is_empty()).then(|| event.to_string())
}

fn refuse(sequence: &Value, message: &str) -> String {
    json!({"type": "error", "sequence": sequence, "response": {"message": message}}).to_string()
}

/// Microseconds since 1970, as the original gave out, but never the same twice.
fn fresh_id() -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now = u64::try_from(now).unwrap_or_default();
    let next = |last: u64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_default();
    now.max(last + 1).to_string()
}
