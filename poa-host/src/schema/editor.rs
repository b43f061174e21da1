//! The schema in the form that suits editors.

use serde_json::{Map, Value, json};

/// A length of time, or a reference to one.
const DURATION: &str = r"^(\s*[0-9]+\s*(ns|nsec|nanos|us|usec|micros|ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|M|months?|y|years?))+\s*$|\$\{";
/// A number of bytes, or a reference to one.
const SIZE: &str = r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtTpPeE]?[iI]?[bB]?)\s*$|\$\{";

/// Turns a choice between all kinds, whose errors mention all of them, into one that the kind decides, and adds patterns.
pub(super) fn for_editors(mut root: Value) -> Value {
    let mut definitions = match root["$defs"].take() {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    };
    for role in ["handlers", "receivers"] {
        let sections = &mut root["properties"][role]["additionalProperties"];
        let forms = sections["oneOf"].take();
        *sections = decided_by_kind(role, forms, &mut definitions);
    }
    for (name, definition) in &mut definitions {
        match name.rsplit('.').next() {
            Some("Duration") => definition["pattern"] = DURATION.into(),
            Some("Size") => definition["pattern"] = SIZE.into(),
            _ => {}
        }
    }
    root["$defs"] = Value::Object(definitions);
    root
}

fn decided_by_kind(role: &str, forms: Value, definitions: &mut Map<String, Value>) -> Value {
    let (mut kinds, mut rules) = (Vec::new(), Vec::new());
    for form in forms.as_array().into_iter().flatten() {
        let kind = form["properties"]["kind"]["const"].clone();
        let name = format!("{role}.{}", kind.as_str().unwrap_or_default());
        rules.push(json!({
            "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
            "then": { "$ref": format!("#/$defs/{name}") },
        }));
        kinds.push(kind);
        definitions.insert(name, form.clone());
    }
    let about = format!("The kind of plugin; `poa-server list` prints all {role}.");
    json!({
        "type": "object",
        "properties": { "kind": { "description": about, "enum": kinds } },
        "required": ["kind"],
        "allOf": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides_and_texts_have_patterns() {
        let form = |kind: &str| json!({"type": "object", "properties": {"kind": {"const": kind}}});
        let section = |forms: Vec<Value>| json!({"additionalProperties": {"oneOf": forms}});
        let root = json!({
            "properties": { "handlers": section(vec![form("a"), form("b")]), "receivers": section(vec![]) },
            "$defs": { "Duration": {"type": "string"}, "common.Size": {"type": ["string", "integer"]}, "X": {} },
        });
        let root = for_editors(root);
        let handlers = &root["properties"]["handlers"]["additionalProperties"];
        assert_eq!(handlers["properties"]["kind"]["enum"], json!(["a", "b"]));
        assert_eq!(handlers["allOf"][1]["if"]["properties"]["kind"]["const"], "b");
        assert_eq!(handlers["allOf"][1]["then"]["$ref"], "#/$defs/handlers.b");
        assert_eq!(root["$defs"]["handlers.b"], form("b"));
        assert!(handlers.get("oneOf").is_none());
        assert_eq!(root["$defs"]["Duration"]["pattern"], DURATION);
        assert_eq!(root["$defs"]["common.Size"]["pattern"], SIZE);
        assert_eq!(root["$defs"]["X"], json!({}));
    }
}
