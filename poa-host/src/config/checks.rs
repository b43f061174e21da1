//! Checks that involve more than one section.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use poa_core::config::Duration;
use poa_core::{Ack, DataTypes, InvalidDataType};
use poa_http::Listen;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::StrDeserializer;
use serde_json::Value;

use super::document::Part;
use super::path::normal;
use super::suggest::{closest, hint};
use super::top::{Bus, LOCAL, MEMORY, Top};
use super::walk::{Found, Walk};

/// Checks the whole: `top` as far as it could be read, and the document as it was written.
pub(crate) fn check(walk: &mut Walk<'_>, top: &Top, written: &Value) {
    let mut found = Vec::new();
    let mut say = |path: Vec<String>, message: String| {
        found.push(Found { path, part: Part::Value, message });
    };
    let auth = top.auth.validate().into_iter().map(|problem| problem.under("auth"));
    let traces = top.traces.iter().flat_map(poa_traces::Config::validate);
    for problem in auth.chain(traces.map(|problem| problem.under("traces"))) {
        let place = normal(&problem.path);
        // The replacement of an invalid value may be invalid in another way.
        if !walk.is_replaced_within(&place) {
            say(place, problem.message);
        }
    }
    for problem in top.admin.problems().into_iter().map(|problem| problem.under("admin")) {
        say(normal(&problem.path), problem.message);
    }
    acks(&top.bus, written, &mut say);
    data_types(written, &mut say);
    let spans_machines = !LOCAL.contains(&top.bus.engine.as_str());
    match spans_machines {
        true => anything(written, &mut say),
        false => presence(written, &mut say),
    }
    subscriptions(written, spans_machines, &mut say);
    listeners(&top.admin.listen, written, &mut say);
    zero_timeouts(written, &mut Vec::new(), &mut say);
    found.retain(|new| !walk.found.iter().any(|known| known.path == new.path));
    walk.found.extend(found);
}

/// Settings that are allowed, but probably not intended.
pub(crate) fn warnings(written: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    short_secrets(written, &mut Vec::new(), &mut |path, message| {
        found.push(Found { path, part: Part::Value, message });
    });
    found
}

type Say<'a> = dyn FnMut(Vec<String>, String) + 'a;

fn path(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn texts(value: &Value) -> impl Iterator<Item = (usize, &str)> {
    let items = value.as_array().into_iter().flatten().enumerate();
    items.filter_map(|(index, item)| Some((index, item.as_str()?)))
}

fn sections<'v>(written: &'v Value, role: &str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    written[role].as_object().into_iter().flatten().map(|(name, section)| (name.as_str(), section))
}

fn data_types(written: &Value, say: &mut Say<'_>) {
    let names: Vec<_> = texts(&written["metrics"]).collect();
    let Err(error) = DataTypes::new(names.iter().map(|(_, name)| *name)) else { return };
    let culprit = match &error {
        InvalidDataType::Name(bad) | InvalidDataType::Duplicate(bad) => {
            names.iter().rev().find(|(_, name)| name == bad).map(|(index, _)| *index)
        }
        _ => None,
    };
    match culprit {
        Some(index) => {
            say(path(&["metrics", &index.to_string()]), format!("{error}; remove it here"))
        }
        None => say(path(&["metrics"]), error.to_string()),
    }
}

/// Each ack needs an engine that can guarantee it, and a declared data type.
fn acks(bus: &Bus, written: &Value, say: &mut Say<'_>) {
    let here = |keys: &[&str]| path(&[&["bus"], keys].concat());
    let by_type = bus.ack_for.iter().map(|(name, ack)| (here(&["ack_for", name]), *ack));
    for (place, ack) in by_type.chain([(here(&["ack"]), bus.ack())]) {
        if ack == Ack::Stored && bus.engine == MEMORY {
            let cure = "write `engine = \"log\"`, or `ack = \"memory\"`, or `ack = \"delivered\"`";
            say(
                place,
                format!(
                    "`stored` needs the log on the disk, and `engine = \"memory\"` has none; {cure}"
                ),
            );
        }
    }
    let known: Vec<_> = texts(&written["metrics"]).map(|(_, name)| name).collect();
    for name in bus.ack_for.keys().filter(|name| !known.contains(&name.as_str())) {
        let hint = hint(name, "metrics", known.iter().copied());
        say(
            here(&["ack_for", name]),
            format!("`{name}` is not among the metrics of this server; {hint}"),
        );
    }
}

/// A node of a cluster may have handlers alone or receivers alone, but not nothing.
fn anything(written: &Value, say: &mut Say<'_>) {
    let has = |role| sections(written, role).next().is_some();
    if !has("handlers") && !has("receivers") {
        let message = "there is neither a handler nor a receiver, so this node would do nothing; add a section such as [handlers.rest] or \
                       [receivers.local]";
        say(path(&["handlers"]), message.to_owned());
    }
}

fn presence(written: &Value, say: &mut Say<'_>) {
    let misspelt = |role: &str| {
        let keys = written.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        keys.filter(|key| *key != role && *key != "handlers" && *key != "receivers")
            .any(|key| closest(key, [role]).is_some())
    };
    if sections(written, "handlers").next().is_none() && !misspelt("handlers") {
        let cure = "add a section such as [handlers.rest] with kind = \"rest\" and listen = \"127.0.0.1:4002\"";
        say(
            path(&["handlers"]),
            format!("there is no handler, so no message could be accepted; {cure}"),
        );
    }
    if sections(written, "receivers").next().is_none() && !misspelt("receivers") {
        let cure = "add a section such as [receivers.local] with kind = \"sqlite\" and subscribe = [\"…\"]";
        say(
            path(&["receivers"]),
            format!("there is no receiver, so every message would be lost; {cure}"),
        );
    }
}

fn subscriptions(written: &Value, spans_machines: bool, say: &mut Say<'_>) {
    let known: Vec<_> = texts(&written["metrics"]).map(|(_, name)| name).collect();
    for (receiver, section) in sections(written, "receivers") {
        if section["subscribe"].as_array().is_some_and(Vec::is_empty) {
            let message = "subscribes to nothing; name the data types this receiver is to get, or remove the receiver";
            say(path(&["receivers", receiver, "subscribe"]), message.to_owned());
        }
        for (index, name) in texts(&section["subscribe"]) {
            // Without `metrics` no comparison is possible, and that was reported already.
            if !known.is_empty() && !known.contains(&name) {
                let hint = hint(name, "metrics", known.iter().copied());
                let message = format!("`{name}` is not among the metrics of this server; {hint}");
                say(path(&["receivers", receiver, "subscribe", &index.to_string()]), message);
            }
        }
    }
    // With an engine that spans machines, receivers of other nodes subscribe as well.
    if !spans_machines {
        unsubscribed(written, &known, say);
    }
}

/// Data types without a subscription.
fn unsubscribed(written: &Value, known: &[&str], say: &mut Say<'_>) {
    // A subscription can only be missing if all subscriptions could be read.
    let mut receivers = sections(written, "receivers").peekable();
    if receivers.peek().is_none() || !receivers.all(|(_, section)| section["subscribe"].is_array())
    {
        return;
    }
    let receivers = sections(written, "receivers");
    let subscribed: BTreeSet<&str> = receivers
        .flat_map(|(_, section)| texts(&section["subscribe"]))
        .map(|(_, name)| name)
        .collect();
    // A misspelt subscription was reported already; the data type that was meant is not to be reported as
    // well.
    let misspelt = subscribed.iter().filter(|name| !known.contains(name));
    let meant: BTreeSet<&str> =
        misspelt.filter_map(|name| closest(name, known.iter().copied())).collect();
    for (index, name) in texts(&written["metrics"]) {
        if !subscribed.contains(name) && !meant.contains(name) {
            let message = format!(
                "no receiver subscribes to `{name}`, so its messages would be refused; add it to `subscribe` of a receiver, or remove it here"
            );
            say(path(&["metrics", &index.to_string()]), message);
        }
    }
}

/// Calls `visit` with each text in the document and the keys that lead to it.
fn each_text(value: &Value, path: &mut Vec<String>, visit: &mut dyn FnMut(&[String], &str)) {
    match value {
        Value::String(text) => visit(path, text),
        Value::Object(entries) => {
            for (key, entry) in entries {
                path.push(key.clone());
                each_text(entry, path, visit);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                each_text(item, path, visit);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A time limit of zero ends every attempt before it starts.
fn zero_timeouts(written: &Value, path: &mut Vec<String>, say: &mut Say<'_>) {
    each_text(written, path, &mut |path, text| {
        let timed = |key: &String| {
            key.ends_with("timeout") || key == "inactive_after" || key == "delivered_within"
        };
        let text: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
        let zero = Duration::deserialize(text).is_ok_and(|time| time.get().is_zero());
        if zero && path.last().is_some_and(timed) {
            let message = "must be greater than zero; write a time such as \"5s\", or leave it out for the default";
            say(path.to_owned(), message.to_owned());
        }
    });
}

/// Secrets with fewer characters than this can be guessed with some effort.
const SHORT_SECRET: usize = 16;

fn short_secrets(written: &Value, path: &mut Vec<String>, say: &mut Say<'_>) {
    each_text(written, path, &mut |path, text| {
        let length = text.chars().count();
        let short = match path.last().map(String::as_str) {
            // With one token, an attacker can try HS512 keys without asking the server.
            Some("secret_key") => length < 2 * SHORT_SECRET,
            Some("token" | "ws_secret") => length < SHORT_SECRET,
            _ => false,
        };
        if short && length > 0 {
            let message = format!(
                "has {length} characters and may be guessed; use at least {SHORT_SECRET} random ones, 64 for a key"
            );
            say(path.to_owned(), message);
        }
    });
}

/// Two listeners cannot share a port.
fn listeners(admin: &Listen, written: &Value, say: &mut Say<'_>) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    taken.extend(admin.to_string().parse().map(|admin| (admin, "admin.listen".to_owned())));
    for role in ["handlers", "receivers"] {
        for (name, section) in sections(written, role) {
            let Some(address) = section["listen"].as_str().and_then(|text| text.parse().ok())
            else {
                continue;
            };
            let here = path(&[role, name, "listen"]);
            if let Some((_, other)) = taken.iter().find(|(other, _)| clash(address, *other)) {
                say(
                    here.clone(),
                    format!(
                        "{address} is already the address of {other}; give one of the two another port"
                    ),
                );
            }
            taken.push((address, here.join(".")));
        }
    }
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && same_host
}
