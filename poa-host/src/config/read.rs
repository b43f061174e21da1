//! The steps from text to configuration. Each goes on after a problem, so that one run finds them all.

use poa_core::config::Problem;
use poa_core::{
    DuplicateKind, EngineFactory, HandlerFactory, ReceiverFactory, ReceiverOptions, Registry,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::document::{self, Document, Marks};
use super::path::{KeyPath, normal, show};
use super::substitute::{Sources, Substitutions, substitute};
use super::walk::{Found, Walk};
use super::{Config, Located, Position, Top, checks};
use crate::plugins::Kinds;
use crate::schema::{option_keys, schema};

/// Reads a whole configuration.
///
/// # Errors
/// Every problem.
pub(crate) fn read(
    text: &str,
    registry: &Registry,
    sources: &Sources<'_>,
) -> Result<Config, Vec<Located>> {
    let (Document { mut root, marks }, mut located) = document::parse(text)?;
    located.extend(registry.duplicates().iter().map(whole));
    let (substitutions, unresolved) = substitute(&mut root, sources);
    let written = root.clone();

    let (kinds, not_loaded) = Kinds::load(&root, sources.dir, registry);
    let registry = &kinds.registry;
    let schema = schema(registry);
    let mut walk = Walk::new(&schema);
    walk.found.extend(not_loaded);
    walk.document(&mut root);
    for (path, message) in unresolved {
        // A reference is no value, so nothing else can be said of it.
        walk.found.retain(|found| found.path != path);
        walk.report(&mut root, &path, message);
    }
    let config = configure(&mut walk, root, registry);
    if let Some(config) = &config {
        checks::check(&mut walk, &config.top, &written);
    }
    located.extend(walk.found.into_iter().map(|found| locate(found, &marks, &substitutions)));
    match config {
        Some(config) if located.is_empty() => Ok(config),
        _ => Err(located),
    }
}

/// Loads the libraries that a configuration names, and looks at nothing else.
///
/// # Errors
/// Every problem with that.
pub(crate) fn kinds(
    text: &str,
    registry: &Registry,
    sources: &Sources<'_>,
) -> Result<Kinds, Vec<Located>> {
    let (Document { mut root, marks }, _) = document::parse(text)?;
    let (substitutions, _) = substitute(&mut root, sources);
    let (kinds, not_loaded) = Kinds::load(&root, sources.dir, registry);
    if not_loaded.is_empty() {
        return Ok(kinds);
    }
    Err(not_loaded.into_iter().map(|found| locate(found, &marks, &substitutions)).collect())
}

fn whole(twice: &DuplicateKind) -> Located {
    Located { position: Position::START, path: String::new(), message: twice.to_string() }
}

fn locate(found: Found, marks: &Marks, substitutions: &Substitutions) -> Located {
    Located {
        position: marks.position(&found.path, found.part),
        message: substitutions.hide(&found.path, found.message),
        path: show(&found.path),
    }
}

/// Turns the tree into types and factories; `None` when not even stand-ins made that possible.
fn configure(walk: &mut Walk<'_>, mut root: Value, registry: &Registry) -> Option<Config> {
    let engines: Vec<String> = registry.engines().keys().cloned().collect();
    let top: Option<Top> = settle(walk, &mut root, &[], |mut whole| {
        if let Some(bus) = whole.get_mut("bus").and_then(Value::as_object_mut) {
            bus.retain(|key, _| !engines.contains(key));
        }
        deserialize(without(whole, &["handlers".to_owned(), "receivers".to_owned()]))
    });
    let engine = top.as_ref().and_then(|top| engine(walk, &mut root, &top.bus.engine, registry));
    let mut handlers = Vec::new();
    for name in names(&root, "handlers") {
        if let Some(factory) = handler(walk, &mut root, &name, registry) {
            handlers.push((name, factory));
        }
    }
    let mut receivers = Vec::new();
    for name in names(&root, "receivers") {
        if let Some((options, factory)) = receiver(walk, &mut root, &name, registry) {
            receivers.push((name, options, factory));
        }
    }
    Some(Config { top: top?, engine: engine?, handlers, receivers })
}

/// The engine that the bus names, with the table of its name.
fn engine(
    walk: &mut Walk<'_>,
    root: &mut Value,
    name: &str,
    registry: &Registry,
) -> Option<EngineFactory> {
    let path = ["bus".to_owned(), name.to_owned()];
    let Some(kind) = registry.engines().get(name).cloned() else {
        let known: Vec<_> = registry.engines().keys().map(|kind| format!("`{kind}`")).collect();
        let message = format!("`{name}` is not an engine; there are {}", known.join(", "));
        walk.report(root, &["bus".to_owned(), "engine".to_owned()], message);
        return None;
    };
    if root["bus"].get(name).is_none() {
        return kind.configure(Value::Object(Map::new())).ok();
    }
    settle(walk, root, &path, |section| kind.configure(Value::Object(section)))
}

fn names(root: &Value, role: &str) -> Vec<String> {
    root[role].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn handler(
    walk: &mut Walk<'_>,
    root: &mut Value,
    name: &str,
    registry: &Registry,
) -> Option<HandlerFactory> {
    let path = ["handlers".to_owned(), name.to_owned()];
    let kind = root["handlers"][name]["kind"]
        .as_str()
        .and_then(|kind| registry.handlers().get(kind))?
        .clone();
    settle(walk, root, &path, |section| kind.configure(without(section, &["kind".to_owned()])))
}

fn receiver(
    walk: &mut Walk<'_>,
    root: &mut Value,
    name: &str,
    registry: &Registry,
) -> Option<(ReceiverOptions, ReceiverFactory)> {
    let path = ["receivers".to_owned(), name.to_owned()];
    let kind = root["receivers"][name]["kind"]
        .as_str()
        .and_then(|kind| registry.receivers().get(kind))?
        .clone();
    let mut common = option_keys();
    let options = settle(walk, root, &path, |section| deserialize(only(section, &common)));
    common.push("kind".to_owned());
    let factory = settle(walk, root, &path, |section| kind.configure(without(section, &common)));
    options.zip(factory)
}

fn only(section: Map<String, Value>, keys: &[String]) -> Value {
    Value::Object(section.into_iter().filter(|(key, _)| keys.contains(key)).collect())
}

fn without(section: Map<String, Value>, keys: &[String]) -> Value {
    Value::Object(section.into_iter().filter(|(key, _)| !keys.contains(key)).collect())
}

/// Reads the section at `path` again and again, each time with what was wrong replaced, until nothing new is found.
fn settle<T>(
    walk: &mut Walk<'_>,
    root: &mut Value,
    path: &[String],
    read: impl Fn(Map<String, Value>) -> Result<T, Vec<Problem>>,
) -> Option<T> {
    loop {
        let section = super::walk::at(root, path)?.as_object()?.clone();
        let problems = match read(section) {
            Ok(read) => return Some(read),
            Err(problems) => problems,
        };
        let mut replaced = false;
        for problem in problems {
            let place: KeyPath = path.iter().cloned().chain(normal(&problem.path)).collect();
            if !walk.is_replaced(&place) {
                replaced |= walk.report(root, &place, problem.message);
            }
        }
        if !replaced {
            return None;
        }
    }
}

fn deserialize<T: DeserializeOwned>(section: impl Into<Value>) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(section.into()).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        vec![Problem::new(path, error.inner().to_string())]
    })
}
