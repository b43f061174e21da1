//! The reference page of the configuration, written from its schema.

use std::fmt::Write as _;

use poa_core::Registry;
use serde_json::Value;

use crate::config::shape::{alternatives, keyword, names, properties, required, resolve, types};
use crate::schema::{option_keys, schema};

const INTRODUCTION: &str = "\
# Configuration

A configuration is one TOML file. `poa-server check --config F` tells everything that is wrong with it, with line and
column, and touches nothing. Unknown keys are errors.

A string may name `${env:NAME}`, the value of an environment variable, or `${file:PATH}`, the text of a file without its
last newline; a relative path starts at the directory of the configuration file. `$${` stands for `${` itself.

Durations read `250ms`, `7s`, `1h 30m`; sizes read `64KiB`, `8MB`, or are a number of bytes.

This page is generated from the schema that `poa-server schema` prints.
";

/// The reference page of the configuration, in Markdown, for a server that knows these kinds of plugins.
#[must_use]
pub fn reference(registry: &Registry) -> String {
    let root = schema(registry);
    let mut page = Page { text: INTRODUCTION.to_owned(), root: &root };
    let common = option_keys();
    page.section("## Top level", &root, &["handlers", "receivers"]);
    page.nested(&root, "", &["handlers", "receivers"]);
    for (role, title) in [("handlers", "## Handlers"), ("receivers", "## Receivers")] {
        page.heading(title, &root["properties"][role]);
        let forms = alternatives(&root, &root["properties"][role]["additionalProperties"]);
        if let (Some(first), true) = (forms.first(), role == "receivers") {
            let own: Vec<_> = own_keys(first, &common);
            page.text.push_str("\n### Keys of every receiver\n");
            page.keys(first, &own);
            page.nested(first, "receivers.NAME", &own);
        }
        for form in forms {
            let kind = form["title"].as_str().unwrap_or_default();
            let hidden: Vec<_> =
                common.iter().filter(|_| role == "receivers").map(String::as_str).collect();
            page.section(&format!("### kind = \"{kind}\""), form, &hidden);
            page.nested(form, &format!("{role}.NAME"), &hidden);
        }
    }
    page.text
}

fn own_keys<'s>(form: &'s Value, common: &[String]) -> Vec<&'s str> {
    let keys = properties(form).into_iter().flatten().map(|(key, _)| key.as_str());
    keys.filter(|key| !common.iter().any(|other| other == key)).collect()
}

/// What a schema refers to, itself or as something that may be absent.
fn reference_of(schema: &Value) -> Option<&str> {
    let own = schema.get("$ref").and_then(Value::as_str);
    own.or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(reference_of))
}

/// A number of bytes as one would write it.
fn size(bytes: u64) -> String {
    let units =
        [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("MB", 1_000_000), ("KB", 1_000)];
    let fits = units.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| bytes.to_string(), |(name, unit)| format!("\"{}{name}\"", bytes / unit))
}

struct Page<'s> {
    text: String,
    root: &'s Value,
}

impl<'s> Page<'s> {
    fn heading(&mut self, title: &str, schema: &Value) {
        let about =
            keyword(self.root, schema, "description").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(self.text, "\n{title}\n");
        if !about.is_empty() {
            let _ = write!(self.text, "\n{about}\n");
        }
    }

    /// One table form: its description and a row for each key.
    fn section(&mut self, title: &str, form: &'s Value, hidden: &[&str]) {
        self.heading(title, form);
        self.keys(form, hidden);
    }

    fn keys(&mut self, form: &'s Value, hidden: &[&str]) {
        self.text.push_str("\n| key | what | type | default |\n|---|---|---|---|\n");
        for (key, schema) in properties(form).into_iter().flatten() {
            if !hidden.contains(&key.as_str()) {
                let must = required(form).any(|name| name == key);
                self.row(key, schema, must);
            }
        }
    }

    fn row(&mut self, key: &str, schema: &'s Value, must: bool) {
        let mut what = self.description(schema).to_owned();
        for form in alternatives(self.root, schema) {
            if let ([name], Some(means)) = (names(form).as_slice(), form.get("description")) {
                let means = means.as_str().unwrap_or_default();
                let _ = write!(what, " `{name}`: {means}");
            }
        }
        let what = what.replace('\n', " ").replace('|', "\\|");
        let kind = self.type_of(schema);
        let default = match schema.get("default") {
            _ if must => "required".to_owned(),
            None | Some(Value::Null | Value::Object(_)) => "-".to_owned(),
            Some(Value::Number(bytes)) if kind == "size" => {
                format!("`{}`", size(bytes.as_u64().unwrap_or(0)))
            }
            Some(value) => format!("`{value}`"),
        };
        let _ = writeln!(self.text, "| `{key}` | {what} | {kind} | {default} |");
    }

    fn description(&self, schema: &'s Value) -> &'s str {
        keyword(self.root, schema, "description").and_then(Value::as_str).unwrap_or_default()
    }

    fn type_of(&self, schema: &'s Value) -> String {
        let mut words: Vec<String> = Vec::new();
        for form in alternatives(self.root, schema) {
            let word = match (names(form).as_slice(), types(form).first()) {
                ([], Some(&"array")) => {
                    format!("array of {}", self.type_of(form.get("items").unwrap_or(&Value::Null)))
                }
                ([], Some(&"object")) => "table".to_owned(),
                ([], Some(&"integer")) => "integer".to_owned(),
                ([], _) => self.name_of(schema, form),
                (names, _) => {
                    names.iter().map(|name| format!("`{name:?}`")).collect::<Vec<_>>().join(", ")
                }
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(", ")
    }

    /// Durations and sizes are strings to a schema, and better known by their own names.
    fn name_of(&self, schema: &Value, form: &Value) -> String {
        let name = reference_of(schema).and_then(|pointer| pointer.rsplit(['/', '.']).next());
        match name {
            Some(name @ ("Duration" | "Size" | "Secret")) => name.to_lowercase(),
            _ => types(form).first().copied().unwrap_or("any").to_owned(),
        }
    }

    /// The tables inside a table, each under its own heading.
    fn nested(&mut self, form: &'s Value, parent: &str, hidden: &[&str]) {
        for (key, schema) in properties(form)
            .into_iter()
            .flatten()
            .filter(|(key, _)| !hidden.contains(&key.as_str()))
        {
            let name = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
            for inner in alternatives(self.root, schema) {
                let (title, inner) = match inner.get("items").map(|items| resolve(self.root, items))
                {
                    Some(items) => (format!("[[{name}]]"), items),
                    None => (format!("[{name}]"), inner),
                };
                if properties(inner).is_some() {
                    let level = if parent.is_empty() { "##" } else { "####" };
                    self.section(&format!("{level} `{title}`"), inner, &[]);
                    self.nested(inner, &name, &[]);
                }
            }
        }
    }
}
