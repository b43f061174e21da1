//! What no section can know on its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use poa_core::{Ack, DataTypes, InvalidDataType};
use poa_http::Listen;
use serde_json::Value;

use super::document::Part;
use super::path::normal;
use super::suggest::{closest, hint};
use super::top::{Bus, MEMORY, Top};
use super::walk::{Found, Walk};

/// Looks at the whole: `top` as far as it could be read, and everything as it was written.
pub(crate) fn check(walk: &mut Walk<'_>, top: &Top, written: &Value) {
    let mut found = Vec::new();
    let mut say = |path: Vec<String>, message: String| {
        found.push(Found { path, part: Part::Value, message });
    };
    for problem in top.auth.validate() {
        let problem = problem.under("auth");
        let place = normal(&problem.path);
        // What stands in for a value that was wrong may be wrong in its own way.
        if !walk.is_replaced(&place) {
            say(place, problem.message);
        }
    }
    for problem in top.admin.problems().into_iter().map(|problem| problem.under("admin")) {
        say(normal(&problem.path), problem.message);
    }
    acks(&top.bus, written, &mut say);
    data_types(written, &mut say);
    presence(written, &mut say);
    subscriptions(written, &mut say);
    listeners(&top.admin.listen, written, &mut say);
    walk.found.extend(found);
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

/// A promise needs something to keep it, and somebody to give it to.
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

fn presence(written: &Value, say: &mut Say<'_>) {
    let misspelt = |role: &str| {
        let keys = written.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        keys.filter(|key| *key != role && *key != "handlers" && *key != "receivers")
            .any(|key| closest(key, [role]).is_some())
    };
    if sections(written, "handlers").next().is_none() && !misspelt("handlers") {
        let cure = "add a section such as [handlers.rest] with kind = \"rest\" and listen = \"127.0.0.1:4002\"";
        say(path(&["handlers"]), format!("there is no handler, so nothing could come in; {cure}"));
    }
    if sections(written, "receivers").next().is_none() && !misspelt("receivers") {
        let cure = "add a section such as [receivers.local] with kind = \"sqlite\" and subscribe = [\"…\"]";
        say(
            path(&["receivers"]),
            format!("there is no receiver, so every message would be lost; {cure}"),
        );
    }
}

fn subscriptions(written: &Value, say: &mut Say<'_>) {
    let known: Vec<_> = texts(&written["metrics"]).map(|(_, name)| name).collect();
    for (receiver, section) in sections(written, "receivers") {
        if section["subscribe"].as_array().is_some_and(Vec::is_empty) {
            let message = "subscribes to nothing; name the data types this receiver is to get, or remove the receiver";
            say(path(&["receivers", receiver, "subscribe"]), message.to_owned());
        }
        for (index, name) in texts(&section["subscribe"]) {
            // Without metrics there is nothing to compare with, and that was reported already.
            if !known.is_empty() && !known.contains(&name) {
                let hint = hint(name, "metrics", known.iter().copied());
                let message = format!("`{name}` is not among the metrics of this server; {hint}");
                say(path(&["receivers", receiver, "subscribe", &index.to_string()]), message);
            }
        }
    }
    unsubscribed(written, &known, say);
}

/// Metrics that nobody gets.
fn unsubscribed(written: &Value, known: &[&str], say: &mut Say<'_>) {
    // Only when all that is subscribed to can be read, something can be missing from it.
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
    // A misspelt subscription was reported already; the metric that was meant is not to be reported as well.
    let misspelt = subscribed.iter().filter(|name| !known.contains(name));
    let meant: BTreeSet<&str> =
        misspelt.filter_map(|name| closest(name, known.iter().copied())).collect();
    for (index, name) in texts(&written["metrics"]) {
        if !subscribed.contains(name) && !meant.contains(name) {
            let message = format!(
                "no receiver subscribes to `{name}`, so its messages would be acknowledged and go nowhere; add it to `subscribe` of a receiver, or remove it here"
            );
            say(path(&["metrics", &index.to_string()]), message);
        }
    }
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
