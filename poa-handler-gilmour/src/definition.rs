//! The registration of a node.

use std::net::IpAddr;
use std::path::PathBuf;

use http::StatusCode;
use poa_gilmour::engine::DEFAULT_GROUP;
use poa_gilmour::{Kind, SlotTopic, Topic};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::Refusal;
use crate::config::MAX_TIMEOUT;

/// The time of a handler that names none, in seconds.
const DEFAULT_TIMEOUT: u64 = 600;
/// The longest path and name.
const MAX_TEXT: usize = 1024;

/// The registered data, kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) target: Target,
    pub(crate) health_check: String,
    pub(crate) name: Option<String>,
    /// Calls go to `/` and name the handler in the body.
    pub(crate) legacy_body: bool,
    pub(crate) services: Vec<Entry>,
    pub(crate) slots: Vec<Entry>,
}

/// The address of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Target {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// A service or a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) path: String,
    /// In seconds.
    pub(crate) timeout: u64,
}

/// The rules for registrations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) allow_remote: bool,
    /// The most services and slots.
    pub(crate) handlers: usize,
}

impl Definition {
    /// Reads the body of a registration: every form that old and new clients write.
    pub(crate) fn read(body: &Value, rules: Rules) -> Result<Self, Refusal> {
        let body = body.as_object().ok_or_else(|| bad("the body must be a JSON object"))?;
        let target = target(body, rules)?;
        let legacy = flag(body, "legacy_body")?;
        let definition = Self {
            legacy_body: legacy.unwrap_or(false) || matches!(target, Target::Unix(_)),
            target,
            health_check: match text(body, "health_check")? {
                Some(path) if !path.is_empty() => canonical("health_check", &path)?,
                _ => "/health".to_owned(),
            },
            name: name(body)?,
            services: entries(Kind::Request, body.get("services"))?,
            slots: entries(Kind::Slot, body.get("slots"))?,
        };
        definition.check(rules)?;
        Ok(definition)
    }

    pub(crate) fn entries(&self, kind: Kind) -> &Vec<Entry> {
        match kind {
            Kind::Request => &self.services,
            Kind::Slot => &self.slots,
        }
    }

    pub(crate) fn entries_mut(&mut self, kind: Kind) -> &mut Vec<Entry> {
        match kind {
            Kind::Request => &mut self.services,
            Kind::Slot => &mut self.slots,
        }
    }

    fn check(&self, rules: Rules) -> Result<(), Refusal> {
        let mut alone = Self { services: Vec::new(), slots: Vec::new(), ..self.clone() };
        for kind in [Kind::Request, Kind::Slot] {
            let added = alone.add(kind, self.entries(kind), rules);
            added.map_err(|refusal| Refusal::bad(&refusal.text))?;
        }
        Ok(())
    }

    /// Puts these in as well, all or none.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        entries: &[Entry],
        rules: Rules,
    ) -> Result<(), Refusal> {
        let known = self.entries(kind).len();
        for entry in entries {
            if self.services.len() + self.slots.len() >= rules.handlers {
                self.entries_mut(kind).truncate(known);
                let text = format!("a node has at most {} services and slots", rules.handlers);
                return Err(bad(&text));
            }
            if let Some(duplicate) =
                self.entries(kind).iter().find(|other| entry.doubles(other, kind))
            {
                let text = duplicate.is_there_already(kind);
                self.entries_mut(kind).truncate(known);
                return Err(Refusal::new(StatusCode::CONFLICT, text));
            }
            self.entries_mut(kind).push(entry.clone());
        }
        Ok(())
    }

    /// The form of the documents, with the state of the node.
    pub(crate) fn shown(&self, id: &str, status: &str) -> Value {
        let mut shown = json!({
            "id": id,
            "health_check": self.health_check,
            "slots": self.slots,
            "services": self.services,
            "status": status,
        });
        match &self.target {
            Target::Tcp { host, port } => {
                shown["port"] = json!(port);
                shown["host"] = json!(host);
            }
            Target::Unix(path) => shown["listen_sock"] = json!(path),
        }
        if let Some(name) = &self.name {
            shown["name"] = json!(name);
        }
        shown
    }
}

impl Entry {
    /// Services: one handler for each topic and group. Slots with a group the same; without one, the same topic and path is the same slot.
    fn doubles(&self, other: &Self, kind: Kind) -> bool {
        let place = self.topic == other.topic && self.group == other.group;
        place && (kind == Kind::Request || !self.group.is_empty() || self.path == other.path)
    }

    fn is_there_already(&self, kind: Kind) -> String {
        let what = match kind {
            Kind::Request => "a service",
            Kind::Slot => "a slot",
        };
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(" in group `{}`", self.group)
        };
        format!("the node has {what} for `{}`{group} already", self.topic)
    }
}

impl Target {
    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// Services or slots: one object, a list, or an object by topic. Absent and null are none.
pub(crate) fn entries(kind: Kind, value: Option<&Value>) -> Result<Vec<Entry>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|one| entry(kind, None, one)).collect(),
        Some(Value::Object(one)) if one.get("topic").is_some_and(Value::is_string) => {
            Ok(vec![entry(kind, None, &Value::Object(one.clone()))?])
        }
        Some(Value::Object(by_topic)) => {
            by_topic.iter().map(|(topic, one)| entry(kind, Some(topic), one)).collect()
        }
        Some(_) => Err(bad(&format!("{} must be a list or an object", plural(kind)))),
    }
}

fn entry(kind: Kind, key: Option<&str>, value: &Value) -> Result<Entry, Refusal> {
    let object = value.as_object();
    let object =
        object.ok_or_else(|| bad(&format!("each of {} must be an object", plural(kind))))?;
    let topic = match key {
        Some(topic) => topic.to_owned(),
        None => text(object, "topic")?.ok_or_else(|| bad("`topic` is missing"))?,
    };
    check_topic(kind, &topic)?;
    let path =
        text(object, "path")?.ok_or_else(|| bad(&format!("`path` of `{topic}` is missing")))?;
    let group = text(object, "group")?.unwrap_or_default();
    let group = match kind {
        Kind::Request if group.is_empty() => DEFAULT_GROUP.to_owned(),
        _ => group,
    };
    let timeout = match object.get("timeout") {
        None | Some(Value::Null) => DEFAULT_TIMEOUT,
        Some(value) => seconds(value)?.unwrap_or(DEFAULT_TIMEOUT),
    };
    Ok(Entry { path: canonical("path", &path)?, group, timeout, topic })
}

fn check_topic(kind: Kind, topic: &str) -> Result<(), Refusal> {
    let foreign = match kind {
        Kind::Request => Topic::new(topic).map(|topic| topic.is_foreign_to(kind)),
        Kind::Slot => SlotTopic::new(topic).map(|topic| topic.is_foreign()),
    };
    match foreign {
        Ok(false) => Ok(()),
        Ok(true) => Err(bad(&format!("`{topic}` is reserved: it names a channel of another kind"))),
        Err(why) => Err(bad(&format!("topic `{topic}`: {why}"))),
    }
}

/// A time in whole seconds; none when it is 0.
pub(crate) fn seconds(value: &Value) -> Result<Option<u64>, Refusal> {
    match value.as_u64() {
        Some(0) => Ok(None),
        Some(seconds) if seconds <= MAX_TIMEOUT => Ok(Some(seconds)),
        _ => Err(bad(&format!(
            "`timeout` must be a whole number of seconds from 0 to {MAX_TIMEOUT}"
        ))),
    }
}

/// A path with its slash, whatever it came with.
pub(crate) fn canonical(key: &str, path: &str) -> Result<String, Refusal> {
    let path = format!("/{}", path.trim_start_matches('/'));
    let plain = path.len() <= MAX_TEXT && http::uri::PathAndQuery::try_from(path.as_str()).is_ok();
    if plain { Ok(path) } else { Err(bad(&format!("`{key}` must be the path of a URL"))) }
}

fn target(body: &Map<String, Value>, rules: Rules) -> Result<Target, Refusal> {
    match (body.get("port"), text(body, "listen_sock")?) {
        (Some(port), None) if !port.is_null() => {
            Ok(Target::Tcp { host: host(body, rules)?, port: number_of(port)? })
        }
        (None | Some(Value::Null), Some(path)) if !path.starts_with('/') => {
            Err(bad("`listen_sock` must be the absolute path of a unix socket"))
        }
        (None | Some(Value::Null), Some(path)) => Ok(Target::Unix(path.into())),
        _ => Err(bad("one of `port` and `listen_sock` must tell where the node listens")),
    }
}

fn number_of(port: &Value) -> Result<u16, Refusal> {
    let number = match port {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    let port = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
    port.ok_or_else(|| bad("`port` must be a number from 1 to 65535"))
}

fn host(body: &Map<String, Value>, rules: Rules) -> Result<String, Refusal> {
    let host = text(body, "host")?.unwrap_or_else(|| "127.0.0.1".to_owned());
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return Ok(host);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match (rules.allow_remote, address) {
        (false, _) => Err(bad(&format!(
            "`host` {host} is on another machine, which `allow_remote_nodes` does not allow"
        ))),
        (true, None) if host.is_empty() || !host.bytes().all(plain) => {
            Err(bad("`host` must be a name or an address"))
        }
        (true, _) => Ok(host),
    }
}

fn name(body: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    let name = text(body, "name")?.filter(|name| !name.is_empty());
    match &name {
        Some(name) if poa_core::AgentId::new(name.as_str()).is_err() => {
            Err(bad("`name` must be at most 256 bytes without control characters"))
        }
        _ => Ok(name),
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Result<Option<String>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(&format!("`{key}` must be a string"))),
    }
}

fn flag(object: &Map<String, Value>, key: &str) -> Result<Option<bool>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(bad(&format!("`{key}` must be true or false"))),
    }
}

pub(crate) fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "services",
        Kind::Slot => "slots",
    }
}

fn bad(text: &str) -> Refusal {
    Refusal::bad(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { allow_remote: false, handlers: 3 };

    fn read(body: Value) -> Result<Definition, String> {
        Definition::read(&body, RULES)
            .map_err(|refusal| format!("{} {}", refusal.status.as_u16(), refusal.text))
    }

    fn entry(topic: &str, group: &str, path: &str, timeout: u64) -> Entry {
        let own = |text: &str| text.to_owned();
        Entry { topic: own(topic), group: own(group), path: own(path), timeout }
    }

    #[test]
    fn all_forms_of_old_and_new_clients_are_read() {
        for port in [json!(8081), json!("8081")] {
            let definition = read(json!({"port": port})).unwrap();
            assert_eq!(definition.target.authority(), "127.0.0.1:8081");
            assert_eq!((&*definition.health_check, definition.legacy_body), ("/health", false));
        }
        let expected = vec![entry("echo", "g", "/echo", 2)];
        for services in [
            json!([{"topic": "echo", "group": "g", "path": "echo", "timeout": 2}]),
            json!({"echo": {"group": "g", "path": "/echo", "timeout": 2}}),
            json!({"topic": "echo", "group": "g", "path": "//echo", "timeout": 2}),
        ] {
            assert_eq!(read(json!({"port": 1, "services": services})).unwrap().services, expected);
        }
        let bare = read(
            json!({"port": 1, "services": [{"topic": "a", "path": "p", "timeout": 0}], "slots": null}),
        );
        assert_eq!(bare.unwrap().services, [entry("a", "_default", "/p", 600)]);
        let unix = read(json!({"listen_sock": "/run/node.sock", "health_check": "/health_check"}))
            .unwrap();
        assert!(unix.legacy_body && unix.target == Target::Unix("/run/node.sock".into()));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_happens() {
        let service = |topic: &str| json!({"topic": topic, "path": "p"});
        for (body, text) in [
            (json!([]), "400 the body must be a JSON object"),
            (json!({}), "400 one of `port` and `listen_sock`"),
            (json!({"port": 1, "listen_sock": "/x"}), "400 one of `port` and `listen_sock`"),
            (json!({"port": 0}), "400 `port` must be"),
            (json!({"port": "x"}), "400 `port` must be"),
            (json!({"port": 70000}), "400 `port` must be"),
            (json!({"listen_sock": "x.sock"}), "400 `listen_sock` must be the absolute path"),
            (json!({"port": 1, "host": "10.0.0.1"}), "400 `host` 10.0.0.1 is on another machine"),
            (json!({"port": 1, "services": 1}), "400 services must be a list or an object"),
            (json!({"port": 1, "services": [1]}), "400 each of services must be an object"),
            (json!({"port": 1, "services": [service("w*")]}), "400 topic `w*`"),
            (json!({"port": 1, "services": [service("")]}), "400 topic ``"),
            (
                json!({"port": 1, "services": [service("gilmour.response.x")]}),
                "400 `gilmour.response.x` is reserved",
            ),
            (json!({"port": 1, "slots": [service("gilmour.*")]}), "400 `gilmour.*` is reserved"),
            (json!({"port": 1, "services": [{"topic": "a"}]}), "400 `path` of `a` is missing"),
            (json!({"port": 1, "services": [{"path": "a"}]}), "400"),
            (
                json!({"port": 1, "services": [service("a"), service("a")]}),
                "400 the node has a service for `a` in group `_default` already",
            ),
            (
                json!({"port": 1, "slots": [service("a"), service("a")]}),
                "400 the node has a slot for `a` already",
            ),
            (
                json!({"port": 1, "slots": [service("a"), service("b"), service("c"), service("d")]}),
                "400 a node has at most 3",
            ),
            (
                json!({"port": 1, "slots": [{"topic": "a", "path": "p", "timeout": -1}]}),
                "400 `timeout` must be",
            ),
            (
                json!({"port": 1, "slots": [{"topic": "a", "path": "p", "timeout": 86401}]}),
                "400 `timeout` must be",
            ),
            (
                json!({"port": 1, "slots": [{"topic": "a", "path": "p q"}]}),
                "400 `path` must be the path of a URL",
            ),
            (json!({"port": 1, "name": "\n"}), "400 `name` must be"),
        ] {
            let refused = read(body.clone()).unwrap_err();
            assert!(refused.starts_with(text), "{body}: {refused}");
        }
    }

    #[test]
    fn a_conflict_changes_nothing() {
        let mut definition = read(json!({"port": 1, "services": {"a": {"path": "p"}}})).unwrap();
        let more = [entry("b", "_default", "/p", 1), entry("a", "_default", "/q", 1)];
        let refused = definition.add(Kind::Request, &more, RULES).unwrap_err();
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert_eq!(definition.services.len(), 1);
        // Slots of one topic may have several paths.
        let slots = [entry("ev", "", "/one", 1), entry("ev", "", "/two", 1)];
        definition.add(Kind::Slot, &slots, RULES).unwrap();
        assert_eq!(definition.slots.len(), 2);
    }
}
