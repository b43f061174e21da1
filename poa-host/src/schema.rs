//! The JSON Schema of a whole configuration.

mod editor;

use poa_core::{ReceiverOptions, Registry};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::config::{HandlerOptions, Top};

/// The JSON Schema (draft 2020-12) of the configuration of a server with these kinds of plugins, designed for editors: the kind of a
/// section determines its schema, so an error is about the kind that was meant.
#[must_use]
pub fn schema(registry: &Registry) -> Value {
    editor::for_editors(checking_schema(registry))
}

/// The schema that configurations are checked with: each kind is one form of a section.
pub(crate) fn checking_schema(registry: &Registry) -> Value {
    let mut root = schemars::schema_for!(Top).to_value();
    root["title"] = "poa server configuration".into();
    let mut definitions = take_definitions(&mut root);
    let handlers = registry
        .handlers()
        .iter()
        .map(|(kind, plugin)| with_options::<HandlerOptions>(section(kind, plugin.schema())));
    let receivers = registry
        .receivers()
        .iter()
        .map(|(kind, plugin)| with_options::<ReceiverOptions>(section(kind, plugin.schema())));
    let roles = [
        ("handlers", "Plugins that accept messages", handlers.collect::<Vec<_>>()),
        ("receivers", "Plugins that messages are delivered to", receivers.collect()),
    ];
    for (role, does, sections) in roles {
        let forms: Vec<_> = sections
            .into_iter()
            .map(|(kind, form)| adopt(form, &format!("{role}.{kind}"), &mut definitions))
            .collect();
        root["properties"][role] = json!({
            "type": "object",
            "description": format!("{does}: a table for each instance, under a name of your choice."),
            "additionalProperties": { "type": "object", "oneOf": forms },
        });
    }
    engines(registry, &mut definitions);
    root["$defs"] = Value::Object(definitions);
    root
}

/// Adds the names of the engines, and a table for each, to the section `bus`.
fn engines(registry: &Registry, definitions: &mut Map<String, Value>) {
    let names: Vec<_> = registry.engines().keys().cloned().collect();
    let forms: Vec<_> = registry
        .engines()
        .iter()
        .map(|(kind, engine)| {
            let mut form = engine.schema();
            if let Some(object) = form.as_object_mut() {
                object.remove("$schema");
                object.insert("title".into(), kind.as_str().into());
                object.insert("type".into(), "object".into());
            }
            (kind.clone(), adopt(form, &format!("bus.{kind}"), definitions))
        })
        .collect();
    let Some(bus) = definitions.get_mut("Bus") else { return };
    bus["properties"]["engine"]["enum"] = names.into();
    for (kind, form) in forms {
        property(bus, &kind, form);
    }
}

/// The keys that these options have.
pub(crate) fn option_keys<O: JsonSchema>() -> Vec<String> {
    let options = schemars::schema_for!(O).to_value();
    options["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// The schema of a plugin with the key for its kind.
fn section(kind: &str, mut schema: Value) -> (String, Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.insert("title".into(), kind.into());
        object.insert("type".into(), "object".into());
    }
    let kind_schema = json!({ "const": kind, "description": format!("Always `{kind}`.") });
    property(&mut schema, "kind", kind_schema);
    require(&mut schema, &["kind".into()]);
    (kind.to_owned(), schema)
}

/// The same with the keys common to all plugins of the role, which take precedence over keys of the same name.
fn with_options<O: JsonSchema>((kind, mut own): (String, Value)) -> (String, Value) {
    let mut options = schemars::schema_for!(O).to_value();
    let definitions = take_definitions(&mut options);
    let mut adopted = take_definitions(&mut own);
    let options = adopt_with(options, "common", &mut adopted, definitions);
    for (key, schema) in options["properties"].as_object().into_iter().flatten() {
        property(&mut own, key, schema.clone());
    }
    require(&mut own, options["required"].as_array().map_or(&[][..], Vec::as_slice));
    own["$defs"] = Value::Object(adopted);
    (kind, own)
}

fn property(schema: &mut Value, key: &str, value: Value) {
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    schema["properties"][key] = value;
}

fn require(schema: &mut Value, keys: &[Value]) {
    let mut all = schema["required"].as_array().cloned().unwrap_or_default();
    for key in keys {
        if !all.contains(key) {
            all.push(key.clone());
        }
    }
    schema["required"] = Value::Array(all);
}

fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    match schema.as_object_mut().and_then(|object| object.remove("$defs")) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    }
}

/// Moves the definitions of `schema` into those of the document.
fn adopt(mut schema: Value, prefix: &str, into: &mut Map<String, Value>) -> Value {
    let own = take_definitions(&mut schema);
    adopt_with(schema, prefix, into, own)
}

/// Two plugins may use one name for different things: the second then gets a prefix.
fn adopt_with(
    mut schema: Value,
    prefix: &str,
    into: &mut Map<String, Value>,
    own: Map<String, Value>,
) -> Value {
    let clashes: Vec<String> = own
        .iter()
        .filter(|(name, of)| into.get(*name).is_some_and(|other| other != *of))
        .map(|(name, _)| name.clone())
        .collect();
    let rename = |name: &str| {
        if clashes.iter().any(|clash| clash == name) {
            format!("{prefix}.{name}")
        } else {
            name.to_owned()
        }
    };
    redirect(&mut schema, &rename);
    for (name, mut definition) in own {
        redirect(&mut definition, &rename);
        into.insert(rename(&name), definition);
    }
    schema
}

fn redirect(schema: &mut Value, rename: &dyn Fn(&str) -> String) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::String(pointer)) = entries.get_mut("$ref")
                && let Some(name) = pointer.strip_prefix("#/$defs/")
            {
                *pointer = format!("#/$defs/{}", rename(name));
            }
            entries.values_mut().for_each(|entry| redirect(entry, rename));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, rename)),
        _ => {}
    }
}
