//! `${env:NAME}` and `${file:PATH}` in values.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::path::KeyPath;

/// The sources of the values.
pub(crate) struct Sources<'a> {
    /// Looks up an environment variable.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// The directory that relative paths start from.
    pub(crate) dir: &'a Path,
}

/// Each substituted value with its reference, so that no message shows a value that is not in the file.
#[derive(Default)]
pub(crate) struct Substitutions(Vec<(KeyPath, String, String)>);

impl Substitutions {
    /// A message about the value at `path`, or about a table that holds it, as if nothing had been substituted.
    pub(crate) fn hide(&self, path: &[String], mut message: String) -> String {
        for (at, expanded, written) in &self.0 {
            if !expanded.is_empty() && (at.starts_with(path) || path.starts_with(at)) {
                message = message.replace(expanded.as_str(), written);
            }
        }
        message
    }
}

/// Replaces the references in every text below `value`, and reports those that could not be resolved.
pub(crate) fn substitute(
    value: &mut Value,
    sources: &Sources<'_>,
) -> (Substitutions, Vec<(KeyPath, String)>) {
    let mut done = Substitutions::default();
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), &mut |text, path| match expand(text, sources) {
        Ok(expanded) if expanded != *text => {
            done.0.push((path.clone(), expanded.clone(), std::mem::replace(text, expanded)));
        }
        Ok(_) => {}
        Err(message) => found.push((path.clone(), message)),
    });
    (done, found)
}

fn walk(value: &mut Value, path: &mut KeyPath, visit: &mut dyn FnMut(&mut String, &KeyPath)) {
    match value {
        Value::String(text) => visit(text, path),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                walk(item, path, visit);
                path.pop();
            }
        }
        Value::Object(entries) => {
            for (key, entry) in entries {
                path.push(key.clone());
                walk(entry, path, visit);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn expand(text: &str, sources: &Sources<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some(end) = after.find('}') else {
            return Err(
                "`${` without `}`; write `$${` for the two characters themselves".to_owned()
            );
        };
        out.push_str(before);
        out.push_str(&look_up(&after[..end], sources)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(reference: &str, sources: &Sources<'_>) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => variable(name, sources),
        Some(("file", path)) => read(&sources.dir.join(path)),
        _ => Err(format!(
            "`${{{reference}}}` is not a reference; write `${{env:NAME}}`, `${{env:NAME:-default}}` or `${{file:PATH}}`, or `$${{` for the characters themselves"
        )),
    }
}

/// As in a shell, a default replaces a variable that is not set or empty.
fn variable(reference: &str, sources: &Sources<'_>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let value = (sources.env)(name);
    match default {
        Some(default) => Ok(value.filter(|value| !value.is_empty()).unwrap_or(default.to_owned())),
        None => value.ok_or_else(|| {
            format!(
                "the environment variable `{name}` is not set; set it before the server starts, or write `${{env:{name}:-default}}`"
            )
        }),
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    let mut text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the file {}: {error}", path.display()))?;
    // Editors end a file with a newline that is not part of a secret.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let env = |name: &str| (name == "A").then(|| "value".to_owned());
        expand(text, &Sources { env: &env, dir: Path::new("/nonexistent") })
    }

    #[test]
    fn references_are_replaced_whole_inside_and_unless_escaped() {
        assert_eq!(expanded("${env:A}").unwrap(), "value");
        assert_eq!(expanded("x-${env:A}-${env:A}").unwrap(), "x-value-value");
        assert_eq!(expanded("$${env:A} costs $5").unwrap(), "${env:A} costs $5");
    }

    #[test]
    fn a_default_replaces_a_variable_that_is_not_set_or_empty() {
        let env = |name: &str| match name {
            "A" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let expanded = |text| expand(text, &Sources { env: &env, dir: Path::new(".") }).unwrap();
        assert_eq!(expanded("${env:A:-other}"), "value");
        assert_eq!(expanded("${env:EMPTY:-other}:${env:B:-}"), "other:");
        assert_eq!(expanded("${env:B:-127.0.0.1:4002}"), "127.0.0.1:4002");
        assert_eq!(expanded("x${env:EMPTY}x"), "xx");
    }

    #[test]
    fn unresolved_references_are_reported() {
        assert!(expanded("${env:B}").unwrap_err().contains("`B` is not set"));
        assert!(expanded("${file:key}").unwrap_err().contains("/nonexistent/key"));
        assert!(expanded("${A}").unwrap_err().contains("not a reference"));
        assert!(expanded("${env:A").unwrap_err().contains("without `}`"));
    }

    #[test]
    fn a_file_loses_one_newline() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "secret\n\n").unwrap();
        let sources = Sources { env: &|_| None, dir: folder.path() };
        assert_eq!(expand("${file:key}", &sources).unwrap(), "secret\n");
    }

    #[test]
    fn values_are_not_expanded_twice() {
        let env = |name: &str| (name == "A").then(|| "${env:A}".to_owned());
        let sources = Sources { env: &env, dir: Path::new(".") };
        assert_eq!(expand("${env:A}", &sources).unwrap(), "${env:A}");
    }

    #[test]
    fn messages_show_the_text_of_the_file() {
        let env = |_: &str| Some("hunter2".to_owned());
        let mut value = serde_json::json!({ "a": { "b": "${env:S}" } });
        let (done, found) = substitute(&mut value, &Sources { env: &env, dir: Path::new(".") });
        assert!(found.is_empty());
        assert_eq!(value["a"]["b"], "hunter2");
        for path in [vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()]] {
            assert_eq!(
                done.hide(&path, "`hunter2` is not a size".into()),
                "`${env:S}` is not a size"
            );
        }
    }
}
