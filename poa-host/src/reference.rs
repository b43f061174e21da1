//! The reference page of the configuration, generated from its schema.

mod shared;

use std::fmt::Write as _;

use poa_core::{ReceiverOptions, Registry};
use serde_json::Value;

use crate::config::HandlerOptions;
use crate::config::shape::{alternatives, keyword, names, properties, required, resolve, types};
use crate::schema::{checking_schema, option_keys};
use shared::Shared;

/// The tables whose subtables are plugins.
const ROLES: [&str; 2] = ["handlers", "receivers"];

const INTRODUCTION: &str = "\
# Configuration

A configuration is one TOML file. `poa-server check --config F` reports every problem in it with line and column, and changes
nothing. Unknown keys are errors.

A string can contain `${env:NAME}`, which is replaced by the value of an environment variable, or `${file:PATH}`, which is replaced
by the content of a file without its last newline. A relative path starts at the directory of the configuration file. Write `$${` for
a literal `${`.

Durations are written `250ms`, `7s`, `1h 30m`; sizes `64KiB`, `8MB`, or as a number of bytes.

This page is generated from the schema that `poa-server schema` prints.
";

/// The reference page of the configuration, in Markdown, for a server with these kinds of plugins.
#[must_use]
pub fn reference(registry: &Registry) -> String {
    let root = checking_schema(registry);
    let shared = Shared::among(&root);
    let mut page = Page { text: INTRODUCTION.to_owned(), root: &root, shared: &shared };
    page.heading("## Top level", &root);
    page.keys(&root, &ROLES);
    page.nested(&root, "", &ROLES);
    page.handlers();
    page.receivers();
    page.shared_tables();
    page.text
}

/// The table of each kind of plugin in a role.
fn forms<'s>(root: &'s Value, role: &str) -> Vec<&'s Value> {
    alternatives(root, &root["properties"][role]["additionalProperties"])
}

fn own_keys<'s>(form: &'s Value, common: &[String]) -> Vec<&'s str> {
    let keys = properties(form).into_iter().flatten().map(|(key, _)| key.as_str());
    keys.filter(|key| !common.iter().any(|other| other == key)).collect()
}

/// The definition that a schema refers to, itself or as an optional value.
fn reference_of(schema: &Value) -> Option<&str> {
    let own = schema.get("$ref").and_then(Value::as_str);
    own.or_else(|| schema.get("anyOf")?.as_array()?.iter().find_map(reference_of))
}

/// A number of bytes in its largest whole unit.
fn size(bytes: u64) -> String {
    let units =
        [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("MB", 1_000_000), ("KB", 1_000)];
    let fits = units.into_iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| bytes.to_string(), |(name, unit)| format!("\"{}{name}\"", bytes / unit))
}

/// The link target of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    kept.collect::<String>().to_lowercase()
}

struct Page<'s> {
    text: String,
    root: &'s Value,
    shared: &'s Shared<'s>,
}

impl<'s> Page<'s> {
    fn handlers(&mut self) {
        self.role("## Handlers", "handlers", "handler", &option_keys::<HandlerOptions>());
    }

    fn receivers(&mut self) {
        self.role("## Receivers", "receivers", "receiver", &option_keys::<ReceiverOptions>());
    }

    fn role(&mut self, title: &str, role: &str, plugin: &str, common: &[String]) {
        let forms = forms(self.root, role);
        self.heading(title, &self.root["properties"][role]);
        if let Some(first) = forms.first() {
            let own = own_keys(first, common);
            let _ = write!(self.text, "\n### Keys of every {plugin}\n");
            self.keys(first, &own);
            self.nested(first, &format!("{role}.NAME"), &own);
        }
        let common: Vec<_> = common.iter().map(String::as_str).collect();
        for form in forms {
            self.kind(form, role, &common);
        }
    }

    fn kind(&mut self, form: &'s Value, role: &str, hidden: &[&str]) {
        let kind = form["title"].as_str().unwrap_or_default();
        self.heading(&format!("### kind = \"{kind}\""), form);
        self.keys(form, hidden);
        self.nested(form, &format!("{role}.NAME"), hidden);
    }

    fn shared_tables(&mut self) {
        if self.shared.tables().next().is_none() {
            return;
        }
        self.text.push_str("\n## Tables of several kinds\n");
        for (key, table) in self.shared.tables() {
            self.heading(&format!("### `{key}`"), table);
            self.keys(table, &[]);
            self.nested(table, key, &[]);
        }
    }

    fn heading(&mut self, title: &str, schema: &Value) {
        let about =
            keyword(self.root, schema, "description").and_then(Value::as_str).unwrap_or_default();
        let _ = write!(self.text, "\n{title}\n");
        if !about.is_empty() {
            let _ = write!(self.text, "\n{about}\n");
        }
    }

    fn keys(&mut self, form: &'s Value, hidden: &[&str]) {
        self.text.push_str("\n| key | description | type | default |\n|---|---|---|---|\n");
        for (key, schema) in properties(form).into_iter().flatten() {
            if !hidden.contains(&key.as_str()) {
                let must = required(form).any(|name| name == key);
                self.row(key, schema, must);
            }
        }
    }

    fn row(&mut self, key: &str, schema: &'s Value, must: bool) {
        let what = self.meaning(schema).replace('\n', " ").replace('|', "\\|");
        let kind = self.type_of(key, schema);
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

    /// The description of a key, and of each name it can have as its value.
    fn meaning(&self, schema: &'s Value) -> String {
        let own = self.description(schema);
        let mut what = own.to_owned();
        for form in alternatives(self.root, schema) {
            if let ([name], Some(means)) = (names(form).as_slice(), form.get("description"))
                && means.as_str() != Some(own)
            {
                let _ = write!(what, " `{name}`: {}", means.as_str().unwrap_or_default());
            }
        }
        what
    }

    fn description(&self, schema: &'s Value) -> &'s str {
        keyword(self.root, schema, "description").and_then(Value::as_str).unwrap_or_default()
    }

    fn type_of(&self, key: &str, schema: &'s Value) -> String {
        let mut words: Vec<String> = Vec::new();
        for form in alternatives(self.root, schema) {
            let word = match (names(form).as_slice(), types(form).first()) {
                ([], Some(&"array")) => {
                    format!(
                        "array of {}",
                        self.type_of("", form.get("items").unwrap_or(&Value::Null))
                    )
                }
                ([], Some(&"object")) if self.shared.has(key, form) => {
                    format!("[table](#{})", anchor(key))
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

    /// Durations and sizes are strings in the schema; the page names them.
    fn name_of(&self, schema: &Value, form: &Value) -> String {
        let name = reference_of(schema).and_then(|pointer| pointer.rsplit(['/', '.']).next());
        match name {
            Some(name @ ("Duration" | "Size" | "Secret")) => name.to_lowercase(),
            _ => types(form).first().copied().unwrap_or("any").to_owned(),
        }
    }

    /// The tables inside a table, each under its own heading, except those that several kinds share.
    fn nested(&mut self, form: &'s Value, parent: &str, hidden: &[&str]) {
        let keys = properties(form).into_iter().flatten();
        for (key, schema) in keys.filter(|(key, _)| !hidden.contains(&key.as_str())) {
            let name = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
            for inner in alternatives(self.root, schema) {
                if !self.shared.has(key, inner) {
                    self.table(&name, schema, inner);
                }
            }
        }
    }

    fn table(&mut self, name: &str, schema: &'s Value, inner: &'s Value) {
        let (title, inner) = match inner.get("items") {
            Some(items) => (format!("[[{name}]]"), resolve(self.root, items)),
            None => (format!("[{name}]"), inner),
        };
        if properties(inner).is_none() {
            return;
        }
        let level = if name.contains('.') { "####" } else { "##" };
        let _ = write!(self.text, "\n{level} `{title}`\n");
        let about = self.description(inner);
        // The row of the key has it already.
        if !about.is_empty() && about != self.description(schema) {
            let _ = write!(self.text, "\n{about}\n");
        }
        self.keys(inner, &[]);
        self.nested(inner, name, &[]);
    }
}
