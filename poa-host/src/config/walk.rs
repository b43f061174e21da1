//! Compares a configuration with its schema and continues after each problem, so that all are found at once.
//!
//! Every invalid value is reported and replaced by a valid one. Deserialising then finds only problems that a schema
//! cannot express.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::Part;
use super::path::KeyPath;
use super::shape::{
    self, additional, alternatives, constant, discriminator, names, properties, required, types,
};
use super::suggest::{closest, hint};

/// A problem that has no position in a file yet.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: KeyPath,
    pub(crate) part: Part,
    pub(crate) message: String,
}

/// The problems found so far, and the paths of replaced values.
pub(crate) struct Walk<'s> {
    root: &'s Value,
    pub(crate) found: Vec<Found>,
    replaced: BTreeSet<KeyPath>,
    path: KeyPath,
}

impl<'s> Walk<'s> {
    /// Nothing found yet, with the schema that references are looked up in.
    pub(crate) fn new(root: &'s Value) -> Self {
        Self { root, found: Vec::new(), replaced: BTreeSet::new(), path: Vec::new() }
    }

    /// Compares the whole document.
    pub(crate) fn document(&mut self, value: &mut Value) {
        self.value(self.root, value);
    }

    /// Whether the value at this path, or around it, was replaced.
    pub(crate) fn is_replaced(&self, path: &[String]) -> bool {
        (0..=path.len()).any(|end| self.replaced.contains(&path[..end]))
    }

    /// True when something at this path or below it is not what was written.
    pub(crate) fn is_replaced_within(&self, path: &[String]) -> bool {
        self.is_replaced(path) || self.replaced.iter().any(|replaced| replaced.starts_with(path))
    }

    /// Reports a problem from another check, and replaces the value by a valid one. Returns false if that is not possible.
    pub(crate) fn report(
        &mut self,
        document: &mut Value,
        path: &[String],
        message: String,
    ) -> bool {
        self.found.push(Found { path: path.to_owned(), part: Part::Value, message });
        if path.is_empty() || self.is_replaced(path) {
            return false;
        }
        let stand_in =
            self.schema_at(document, path).map(|schema| shape::stand_in(self.root, schema));
        let Some((stand_in, place)) = stand_in.zip(at(document, path)) else { return false };
        self.replaced.insert(path.to_owned());
        *place = stand_in;
        true
    }

    /// The schema of the value at `path` of `value`.
    pub(crate) fn schema_at(&self, mut value: &Value, path: &[String]) -> Option<&'s Value> {
        let mut schema = self.root;
        for key in path {
            let form = self.forms(schema, value).into_iter().next()?;
            (schema, value) = match value {
                Value::Object(entries) => {
                    let own = properties(form).and_then(|known| known.get(key));
                    (own.or_else(|| additional(form))?, entries.get(key)?)
                }
                Value::Array(items) => (form.get("items")?, items.get(key.parse::<usize>().ok()?)?),
                _ => return None,
            };
        }
        Some(schema)
    }

    /// The forms of `schema` that this value may be meant to have.
    fn forms(&self, schema: &'s Value, value: &Value) -> Vec<&'s Value> {
        let mut forms = alternatives(self.root, schema);
        forms.retain(|form| shape::takes(form, value));
        if let Some(key) = discriminator(&forms) {
            let written = value.get(key).and_then(Value::as_str);
            if forms.iter().any(|form| constant(form, key) == written) {
                forms.retain(|form| constant(form, key) == written);
            }
        }
        forms
    }

    fn value(&mut self, schema: &'s Value, value: &mut Value) {
        // A number that could not be read was reported already.
        if value.is_null() {
            return self.replace(schema, value);
        }
        let forms = self.forms(schema, value);
        match forms.as_slice() {
            [] => self.wrong_type(schema, value),
            [form] if is_kind(form, value) => self.form(schema, form, value),
            _ if value.is_string() => self.choice(schema, &forms, value),
            _ => self.undecided(schema, &forms, value),
        }
    }

    fn form(&mut self, schema: &'s Value, form: &'s Value, value: &mut Value) {
        match value {
            Value::Object(entries) => self.table(form, entries),
            Value::Array(items) => {
                let before = self.found.len();
                self.items(form, items);
                if let (Some(message), true) =
                    (too_short(form, items.len()), before == self.found.len())
                {
                    self.wrong(message, schema, value);
                }
            }
            Value::String(_) => self.choice(schema, &[form], value),
            Value::Number(number) => {
                if let Some(message) = out_of_range(form, number) {
                    self.wrong(message, schema, value);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn table(&mut self, form: &'s Value, entries: &mut Map<String, Value>) {
        let written: Vec<_> = entries.keys().cloned().collect();
        let mut misspelt = BTreeSet::new();
        for key in written {
            let own = properties(form).and_then(|known| known.get(&key));
            self.path.push(key.clone());
            match (own.or_else(|| additional(form)), entries.get_mut(&key)) {
                (Some(schema), Some(entry)) => self.value(schema, entry),
                _ => {
                    misspelt.extend(self.unknown(form, &key));
                    entries.remove(&key);
                }
            }
            self.path.pop();
        }
        for key in required(form) {
            if !entries.contains_key(key) {
                self.missing(form, key, entries, misspelt.contains(key));
            }
        }
    }

    fn items(&mut self, form: &'s Value, items: &mut [Value]) {
        let Some(schema) = form.get("items") else { return };
        for (index, item) in items.iter_mut().enumerate() {
            self.path.push(index.to_string());
            self.value(schema, item);
            self.path.pop();
        }
    }

    /// A text that must be one of several, if the forms name them.
    fn choice(&mut self, schema: &'s Value, forms: &[&'s Value], value: &mut Value) {
        let known: Vec<_> = forms.iter().flat_map(|form| names(form)).collect();
        let free = forms.iter().any(|form| names(form).is_empty());
        let written = value.as_str().unwrap_or_default();
        if free || known.contains(&written) {
            return;
        }
        let hint = hint(written, "possible values", known.iter().copied());
        let message = format!("`{written}` is not possible here; {hint}");
        self.wrong(message, schema, value);
    }

    /// Several forms are left: a table whose kind is unknown or missing. Other cases are left to the types.
    fn undecided(&mut self, schema: &'s Value, forms: &[&'s Value], value: &mut Value) {
        let Some(key) = discriminator(forms) else { return };
        let known: Vec<_> = forms.iter().filter_map(|form| constant(form, key)).collect();
        let place = self.path.clone();
        match value.get(key) {
            None => {
                let message = format!(
                    "`{key}` is missing; add `{key} = \"…\"`, one of: {}",
                    known.join(", ")
                );
                self.found.push(Found { path: place, part: Part::Value, message });
            }
            Some(Value::String(written)) => {
                let hint = hint(written, "possible values", known.iter().copied());
                let message = format!("unknown {key} `{written}`; {hint}");
                self.push_below(key, message);
            }
            Some(other) => {
                let message = format!("expected a string, found {}", shape::word_of(other));
                self.push_below(key, message);
            }
        }
        self.replace(schema, value);
    }

    fn push_below(&mut self, key: &str, message: String) {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        self.found.push(Found { path, part: Part::Value, message });
    }

    /// Reports a key, and returns the one that was probably meant.
    fn unknown(&mut self, form: &'s Value, key: &str) -> Option<&'s str> {
        let known = properties(form).into_iter().flatten().map(|(name, _)| name.as_str());
        let message = format!("unknown key `{key}`; {}", hint(key, "known keys", known.clone()));
        self.found.push(Found { path: self.path.clone(), part: Part::Key, message });
        closest(key, known)
    }

    /// Inserts a value for a missing key, and reports the key unless it was reported as misspelt.
    fn missing(
        &mut self,
        form: &'s Value,
        key: &str,
        entries: &mut Map<String, Value>,
        misspelt: bool,
    ) {
        let schema =
            properties(form).and_then(|known| known.get(key)).unwrap_or(&Value::Bool(true));
        if !misspelt {
            self.report_missing(schema, key);
        }
        self.replaced.insert(self.path.iter().cloned().chain([key.to_owned()]).collect());
        entries.insert(key.to_owned(), shape::stand_in(self.root, schema));
    }

    fn report_missing(&mut self, schema: &Value, key: &str) {
        let purpose = shape::keyword(self.root, schema, "description").and_then(Value::as_str);
        let purpose = purpose.and_then(|text| text.lines().next());
        let purpose = purpose.map(|line| format!(" ({})", line.trim_end_matches('.')));
        let message = format!(
            "`{key}` is missing{}; add `{key} = {}`",
            purpose.unwrap_or_default(),
            example(self.root, schema)
        );
        self.found.push(Found { path: self.path.clone(), part: Part::Value, message });
    }

    fn wrong_type(&mut self, schema: &'s Value, value: &mut Value) {
        let forms = alternatives(self.root, schema);
        let mut expected: Vec<_> =
            forms.iter().flat_map(|form| types(form)).map(shape::word).collect();
        expected.dedup();
        let mut message =
            format!("expected {}, found {}", expected.join(" or "), shape::word_of(value));
        if let (Some(text), false) =
            (forms.first().and_then(|form| form.get("description")), forms.len() > 1)
        {
            message.push_str(&format!(
                " ({})",
                text.as_str().unwrap_or_default().trim_end_matches('.')
            ));
        }
        self.wrong(message, schema, value);
    }

    fn wrong(&mut self, message: String, schema: &'s Value, value: &mut Value) {
        self.found.push(Found { path: self.path.clone(), part: Part::Value, message });
        self.replace(schema, value);
    }

    fn replace(&mut self, schema: &'s Value, value: &mut Value) {
        *value = shape::stand_in(self.root, schema);
        self.replaced.insert(self.path.clone());
    }
}

/// Whether `form` can be the form of `value`: false only if `form` is one kind of table and `value` names another kind, or
/// none.
fn is_kind(form: &Value, value: &Value) -> bool {
    discriminator(&[form])
        .is_none_or(|key| constant(form, key) == value.get(key).and_then(Value::as_str))
}

/// The value at `path`.
pub(crate) fn at<'v>(document: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(document, |value, key| match value {
        Value::Object(entries) => entries.get_mut(key),
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn too_short(form: &Value, len: usize) -> Option<String> {
    let least = form.get("minItems")?.as_u64()?;
    let short = u64::try_from(len).is_ok_and(|len| len < least);
    short.then(|| format!("needs at least {least} item{}", if least == 1 { "" } else { "s" }))
}

fn out_of_range(form: &Value, number: &serde_json::Number) -> Option<String> {
    let value = number.as_f64()?;
    let bound = |key: &str| form.get(key).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| value < *least) {
        return Some(format!("{number} is too small; at least {least}"));
    }
    bound("maximum")
        .filter(|most| value > *most)
        .map(|most| format!("{number} is too large; at most {most}"))
}

/// An example of a value of this schema.
fn example(root: &Value, schema: &Value) -> String {
    let given = shape::keyword(root, schema, "examples").and_then(|all| all.get(0));
    if let Some(text) = given.and_then(|value| toml::Value::try_from(value).ok()) {
        return text.to_string();
    }
    let form = alternatives(root, schema).into_iter().next();
    match form.map(types).and_then(|types| types.first().copied()) {
        Some("array") => "[\"…\"]",
        Some("object") => "{ … }",
        Some("integer" | "number") => "…",
        Some("boolean") => "true",
        _ => "\"…\"",
    }
    .to_owned()
}
