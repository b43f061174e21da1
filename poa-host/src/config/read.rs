//! The steps from text to configuration. Each continues after a problem, so that one run finds them all.

use std::path::Path;
use std::sync::Arc;

use poa_core::config::Problem;
use poa_core::{
    DuplicateKind, EngineFactory, HandlerFactory, ReceiverFactory, ReceiverOptions, Registry,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::document::{self, Document, Marks, Part};
use super::files::Files;
use super::handler::HandlerOptions;
use super::outline::{self, Outline};
use super::path::{KeyPath, normal, show};
use super::substitute::{Sources, Substitutions, substitute};
use super::walk::{Found, Walk};
use super::{Config, Located, Position, Top, checks, environment, unknown};
use crate::plugins::{Kinds, only_owners_write};
use crate::schema::{checking_schema, option_keys};

/// The sources of a configuration, and the depth of the checks.
pub(crate) struct Reading<'a> {
    pub(crate) files: &'a Files,
    pub(crate) registry: &'a Registry,
    /// Looks up an environment variable.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether to load the libraries under `[[plugins]]`; otherwise their sections are not checked.
    pub(crate) libraries: bool,
    /// Whether to check the resources that the configuration names: files, programs, directories, addresses.
    pub(crate) environment: bool,
}

/// The result of reading a configuration.
pub(crate) struct Read {
    pub(crate) config: Config,
    /// Settings that are allowed, but probably not intended.
    pub(crate) warnings: Vec<Located>,
    /// Sections that only a library could check.
    pub(crate) not_checked: Vec<String>,
}

/// Reads a whole configuration.
///
/// # Errors
/// Every problem.
pub(crate) fn read(reading: &Reading<'_>) -> Result<Read, Vec<Located>> {
    let (Document { mut root, marks }, mut located) = document::parse_all(&reading.files.texts)?;
    located.extend(reading.registry.duplicates().iter().map(|twice| whole(twice, &marks)));
    let sources = Sources { env: reading.env, dir: &reading.files.dir };
    let (substitutions, unresolved) = substitute(&mut root, &sources);
    let written = Arc::new(root.clone());

    let (kinds, not_loaded) = reading.kinds(&root);
    let not_checked =
        if reading.libraries { Vec::new() } else { unknown::take(&mut root, &kinds.registry) };
    let registry = &kinds.registry;
    let schema = checking_schema(registry);
    let mut walk = Walk::new(&schema);
    walk.found.extend(not_loaded);
    walk.document(&mut root);
    for (path, message) in unresolved {
        // An unresolved reference has no value, so its other problems are not real.
        walk.found.retain(|found| found.path != path);
        walk.report(&mut root, &path, message);
    }
    let mut config = configure(&mut walk, root, registry);
    let mut warnings = Vec::new();
    if let Some(config) = &mut config {
        checks::check(&mut walk, &config.top, &written);
        warnings = checks::warnings(&written);
        if reading.environment {
            let mut found = environment::check(&written, &config.top.data_dir);
            found.retain(|found| !walk.is_replaced(&found.path));
            walk.found.extend(found);
        }
        config.written = Arc::clone(&written);
    }
    let locate = |found: Found| locate(found, &marks, &substitutions);
    located.extend(walk.found.into_iter().map(locate));
    match config {
        Some(config) if located.is_empty() => {
            let warnings = warnings.into_iter().map(locate).collect();
            Ok(Read { config, warnings, not_checked })
        }
        _ => Err(located),
    }
}

impl Reading<'_> {
    fn kinds(&self, root: &Value) -> (Kinds, Vec<Found>) {
        if self.libraries {
            let refuse = |file: &Path| match self.environment {
                true => only_owners_write(file),
                false => Ok(()),
            };
            Kinds::load(root, &self.files.dir, self.registry, refuse)
        } else {
            (Kinds { registry: self.registry.clone(), libraries: Vec::new() }, Vec::new())
        }
    }
}

/// Loads the libraries that a configuration names, and checks nothing else.
///
/// # Errors
/// Every problem with the libraries.
pub(crate) fn kinds(reading: &Reading<'_>) -> Result<Kinds, Vec<Located>> {
    let (Document { mut root, marks }, _) = document::parse_all(&reading.files.texts)?;
    let sources = Sources { env: reading.env, dir: &reading.files.dir };
    let (substitutions, _) = substitute(&mut root, &sources);
    let (kinds, not_loaded) = reading.kinds(&root);
    if not_loaded.is_empty() {
        return Ok(kinds);
    }
    Err(not_loaded.into_iter().map(|found| locate(found, &marks, &substitutions)).collect())
}

/// The document with references in place where they cannot be resolved. Nothing in it is checked.
///
/// # Errors
/// When the files are not TOML.
pub(crate) fn sketch(reading: &Reading<'_>) -> Result<Value, Vec<Located>> {
    let (Document { mut root, .. }, _) = document::parse_all(&reading.files.texts)?;
    substitute(&mut root, &Sources { env: reading.env, dir: &reading.files.dir });
    Ok(root)
}

/// Reads the few values that commands on data need, whatever other problems there are.
///
/// # Errors
/// When the files are not TOML, or one of these values is wrong.
pub(crate) fn outline(reading: &Reading<'_>) -> Result<Outline, Vec<Located>> {
    let (Document { mut root, marks }, _) = document::parse_all(&reading.files.texts)?;
    let sources = Sources { env: reading.env, dir: &reading.files.dir };
    let (substitutions, unresolved) = substitute(&mut root, &sources);
    let named = &reading.files.named;
    let missing = unresolved.into_iter().find(|(path, _)| outline::needs(path));
    let read = match missing {
        Some((path, message)) => Err(Found { path, part: Part::Value, message }),
        None => Outline::read(&root, named),
    };
    read.map_err(|found| vec![locate(found, &marks, &substitutions)])
}

fn whole(twice: &DuplicateKind, marks: &Marks) -> Located {
    let (file, path) = (marks.first_file().to_owned(), String::new());
    Located { file, position: Position::START, path, message: twice.to_string() }
}

fn locate(found: Found, marks: &Marks, substitutions: &Substitutions) -> Located {
    let (file, position) = marks.place(&found.path, found.part);
    Located {
        file: file.to_owned(),
        position,
        message: substitutions.hide(&found.path, found.message),
        path: show(&found.path),
    }
}

/// Converts the tree to types and factories; `None` if not even replacements made that possible.
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
    Some(Config { top: top?, engine: engine?, handlers, receivers, written: Arc::default() })
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
    let mut common = option_keys::<HandlerOptions>();
    let options: Option<HandlerOptions> =
        settle(walk, root, &path, |section| deserialize(only(section, &common)));
    common.push("kind".to_owned());
    let factory = settle(walk, root, &path, |section| kind.configure(without(section, &common)));
    options.zip(factory).map(|(options, factory)| options.apply(factory))
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
    let mut common = option_keys::<ReceiverOptions>();
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

/// Reads the section at `path` repeatedly, each time with the invalid values replaced, until no new problem is
/// found.
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
