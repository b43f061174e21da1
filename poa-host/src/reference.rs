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
            page.section("### Keys of every receiver", first, &own);
            page.nested(first, "receivers.NAME", &own);
        }
        for form in forms {
            let kind = form["title"].as_str().unwrap_or_default();
            let hidden: Vec<_> = if role == "receivers" {
                common.iter().map(String::as_str).collect()
            } else {
                Vec::new()
            };
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
        self.text.push_str("\n| key | what | type | default |\n|---|---|---|---|\n");
        for (key, schema) in properties(form).into_iter().flatten() {
            if !hidden.contains(&key.as_str()) {
                let must = required(form).any(|name| name == key);
                self.row(key, schema, must);
            }
        }
    }

    fn row(&mut self, key: &str, schema: &'s Value, must: bool) {
        let what =
            keyword(self.root, schema, "description").and_then(Value::as_str).unwrap_or_default();
        let what = what.replace('\n', " ").replace('|', "\\|");
        let default = match schema.get("default") {
            _ if must => "required".to_owned(),
            None | Some(Value::Null | Value::Object(_)) => "-".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        let kind = self.type_of(schema);
        let _ = writeln!(self.text, "| `{key}` | {what} | {kind} | {default} |");
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
        let name = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|pointer| pointer.rsplit('/').next());
        match name.map(|name| name.rsplit('.').next().unwrap_or(name)) {
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
