//! Reads JSON Schema, as far as configurations need it.

use serde_json::{Map, Value};

/// Follows the `$ref` of `schema`.
pub(crate) fn resolve<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    while let Some(pointer) = schema.get("$ref").and_then(Value::as_str) {
        match root.pointer(pointer.trim_start_matches('#')) {
            Some(target) => schema = target,
            None => return &Value::Bool(true),
        }
    }
    schema
}

/// Every form a value may take, except null, which TOML does not have.
pub(crate) fn alternatives<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let schema = resolve(root, schema);
    for key in ["oneOf", "anyOf"] {
        if let (Some(Value::Array(forms)), None) = (schema.get(key), schema.get("properties")) {
            return forms.iter().flat_map(|form| alternatives(root, form)).collect();
        }
    }
    if schema.get("type").and_then(Value::as_str) == Some("null") {
        Vec::new()
    } else {
        vec![schema]
    }
}

/// The JSON types that a form accepts; empty if it does not name any.
pub(crate) fn types(form: &Value) -> Vec<&str> {
    match form.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => match (names(form).is_empty(), form.get("properties").is_some()) {
            (false, _) => vec!["string"],
            (true, true) => vec!["object"],
            (true, false) => Vec::new(),
        },
    }
}

/// The possible texts of a form that is a choice between texts.
pub(crate) fn names(form: &Value) -> Vec<&str> {
    match (form.get("const"), form.get("enum")) {
        (Some(Value::String(name)), _) => vec![name],
        (None, Some(Value::Array(names))) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a form accepts values of the type of `value`.
pub(crate) fn takes(form: &Value, value: &Value) -> bool {
    let types = types(form);
    types.is_empty() || types.iter().any(|name| is_a(value, name))
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

/// The name of a JSON type in TOML terms.
pub(crate) fn word(name: &str) -> &'static str {
    match name {
        "object" => "a table",
        "array" => "an array",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "an integer",
        "number" => "a number",
        _ => "something else",
    }
}

/// The type of a value in TOML terms.
pub(crate) fn word_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

/// The key whose text distinguishes the table forms, such as `kind`.
pub(crate) fn discriminator<'s>(forms: &[&'s Value]) -> Option<&'s str> {
    let first = forms.first()?.get("properties")?.as_object()?;
    let tells = |key: &str| forms.iter().all(|form| constant(form, key).is_some());
    first.keys().map(String::as_str).find(|key| tells(key))
}

/// The only text that `key` may have in this form.
pub(crate) fn constant<'s>(form: &'s Value, key: &str) -> Option<&'s str> {
    form.get("properties")?.get(key)?.get("const")?.as_str()
}

/// The keys of a table form, with their schemas.
pub(crate) fn properties(form: &Value) -> Option<&Map<String, Value>> {
    form.get("properties")?.as_object()
}

/// The required keys.
pub(crate) fn required(form: &Value) -> impl Iterator<Item = &str> {
    form.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The schema of keys that have none of their own; `None` if such keys are not permitted.
pub(crate) fn additional(form: &Value) -> Option<&Value> {
    const ANY: &Value = &Value::Bool(true);
    let rule = form
        .get("additionalProperties")
        .or_else(|| form.get("unevaluatedProperties"))
        .unwrap_or(ANY);
    if rule == &Value::Bool(false) { None } else { Some(rule) }
}

/// A keyword of the schema itself, or else of the schema that it refers to.
pub(crate) fn keyword<'s>(root: &'s Value, schema: &'s Value, key: &str) -> Option<&'s Value> {
    schema.get(key).or_else(|| resolve(root, schema).get(key))
}

/// A valid value, to continue with in place of an invalid one.
pub(crate) fn stand_in(root: &Value, schema: &Value) -> Value {
    if let Some(default) = keyword(root, schema, "default") {
        return default.clone();
    }
    if let Some(example) = keyword(root, schema, "examples").and_then(|all| all.get(0)) {
        return example.clone();
    }
    let Some(form) = alternatives(root, schema).into_iter().next() else { return Value::Null };
    if let Some(name) = names(form).first() {
        return Value::from(*name);
    }
    match types(form).first().copied() {
        Some("object") => table_stand_in(root, form),
        Some("array") => Value::Array(Vec::new()),
        Some("string") => Value::from(""),
        Some("boolean") => Value::Bool(false),
        Some("integer" | "number") => form.get("minimum").cloned().unwrap_or_else(|| 0.into()),
        _ => Value::Null,
    }
}

fn table_stand_in(root: &Value, form: &Value) -> Value {
    let entry = |key: &str| {
        let schema = properties(form)?.get(key)?;
        Some((key.to_owned(), stand_in(root, schema)))
    };
    Value::Object(required(form).filter_map(entry).collect())
}
