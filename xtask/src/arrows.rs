//! The arrows between crates: which library depends on which, and what the core may not know.

use std::path::Path;

use crate::libraries::{Library, libraries};
use crate::run::Failure;

/// The libraries in layers. Each depends only on libraries of the lines above its own, so no arrow points up and no
/// plugin knows another.
const LAYERS: &[&[&str]] = &[
    &["poa-core", "poa-log", "poa-leviathan", "poa-page", "poa-sqlite"],
    &["poa-protocol", "poa-http", "poa-tables", "poa-dead-letters", "poa-plugin", "poa-traces"],
    &["poa-auth", "poa-exec", "poa-gilmour", "poa-engine-local", "poa-engine-nats"],
    &[
        "poa-testkit",
        "poa-handler-rest",
        "poa-handler-ws",
        "poa-handler-gilmour",
        "poa-handler-leviathan",
    ],
    &[
        "poa-receiver-sqlite",
        "poa-receiver-postgres",
        "poa-receiver-dynamo",
        "poa-receiver-dashboard",
    ],
    &["poa-host"],
    &["poa"],
];

/// Arrows that the layers forbid and that are to go.
const PENDING: &[(&str, &str)] = &[];

/// Names that must not occur in the source of poa-core: engines, their servers and their formats.
const ENGINES: &[&str] = &["poa_log", "poa_engine", "nats", "jetstream", "redis", "engine::log"];

/// Refuses arrows against the layers, and engines that the core names.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let libraries = libraries()?;
    let mut problems: Vec<_> = libraries.iter().flat_map(wrong_arrows).collect();
    if !depends(&libraries, "poa-core", "poa-log") {
        problems.extend(engines_in(&root.join("poa-core/src"))?);
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(problems.join("\n       "))),
    }
}

fn depends(libraries: &[Library], from: &str, to: &str) -> bool {
    let from = libraries.iter().find(|library| library.name == from);
    from.is_some_and(|library| library.needs().any(|name| name == to))
}

fn wrong_arrows(library: &Library) -> Vec<String> {
    let name = &library.name;
    let Some(own) = layer(name) else {
        return vec![format!("{name} has no layer; add it to LAYERS in xtask/src/arrows.rs")];
    };
    let upwards = |to: &&str| layer(to).is_some_and(|layer| layer >= own);
    let pending = |to: &&str| PENDING.contains(&(name.as_str(), to));
    let wrong = library.needs().filter(upwards).filter(|to| !pending(to));
    wrong.map(|to| format!("{name} depends on {to}, which is not in a layer below")).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn engines_in(directory: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::Unreadable(directory.display().to_string(), error.to_string())
    };
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        match path.is_dir() {
            true => problems.extend(engines_in(&path)?),
            false => {
                let text = std::fs::read_to_string(&path).map_err(unreadable)?;
                let named = named_engines(&text);
                problems.extend(named.map(|name| format!("{} names {name}", path.display())));
            }
        }
    }
    Ok(problems)
}

/// The engines that a source file names, its comments included. Not those in examples, which are tests: a host in a test has some engine.
fn named_engines(text: &str) -> impl Iterator<Item = &'static str> {
    let text = without_examples(text).to_lowercase();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    ENGINES.iter().copied().filter(move |engine| {
        text.match_indices(engine).any(|(at, _)| !text[..at].ends_with(is_name))
    })
}

/// The text without the blocks of code in its documentation.
fn without_examples(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let written = line.trim_start();
        let documentation = written.strip_prefix("///").or_else(|| written.strip_prefix("//!"));
        inside &= documentation.is_some();
        inside ^= documentation.is_some_and(|text| text.trim_start().starts_with("```"));
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, needs: &[&str]) -> Library {
        let dependency = |name: &&str| serde_json::json!({"name": name, "kind": null});
        let needs: Vec<_> = needs.iter().map(dependency).collect();
        let json = serde_json::json!({
            "name": name, "features": {}, "publish": null, "dependencies": needs,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn arrows_that_point_down_are_right() {
        assert!(wrong_arrows(&library("poa-auth", &["poa-core", "poa-http", "serde"])).is_empty());
    }

    #[test]
    fn a_plugin_that_knows_another_is_refused() {
        let problems = wrong_arrows(&library("poa-handler-ws", &["poa-handler-rest"]));
        assert_eq!(
            problems,
            ["poa-handler-ws depends on poa-handler-rest, which is not in a layer below"]
        );
    }

    #[test]
    fn an_arrow_that_points_up_is_refused() {
        assert_eq!(wrong_arrows(&library("poa-core", &["poa-host"])).len(), 1);
    }

    #[test]
    fn a_library_without_a_layer_is_refused() {
        assert!(wrong_arrows(&library("poa-new", &[]))[0].contains("poa-new has no layer"));
    }

    #[test]
    fn the_core_is_searched_for_names_of_engines() {
        let named: Vec<_> =
            named_engines("use poa_log::Log; // as on NATS\nlet ornates = 1;").collect();
        assert_eq!(named, ["poa_log", "nats"]);
        assert_eq!(named_engines("fn alternates() {}").count(), 0);
    }

    #[test]
    fn examples_may_name_an_engine_and_the_text_around_them_may_not() {
        let example = "/// Text.\n/// ```\n/// use poa_engine_local::Memory;\n/// ```\n";
        assert_eq!(named_engines(example).count(), 0);
        assert_eq!(named_engines(&format!("{example}/// As on NATS.")).next(), Some("nats"));
        let unclosed = "/// ```\n/// let a = 1;\nuse poa_log::Log;";
        assert_eq!(named_engines(unclosed).next(), Some("poa_log"));
    }
}
