//! Sections whose kinds come from libraries that were not loaded.

use poa_core::Registry;
use serde_json::Value;

/// Removes the sections that only a library could check, if the configuration names libraries. Returns their names.
pub(super) fn take(root: &mut Value, registry: &Registry) -> Vec<String> {
    if root["plugins"].as_array().is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let (handlers, receivers) = (registry.handlers(), registry.receivers());
    let mut taken = take_from(root, "handlers", |kind| handlers.contains_key(kind));
    taken.extend(take_from(root, "receivers", |kind| receivers.contains_key(kind)));
    taken
}

fn take_from(root: &mut Value, role: &str, known: impl Fn(&str) -> bool) -> Vec<String> {
    let Some(sections) = root.get_mut(role).and_then(Value::as_object_mut) else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    sections.retain(|name, section| {
        let stays = section["kind"].as_str().is_none_or(&known);
        if !stays {
            taken.push(format!("{role}.{name}"));
        }
        stays
    });
    taken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_with_libraries_and_only_unknown_kinds() {
        let with = |plugins: Value| {
            json!({
                "plugins": plugins,
                "handlers": {"a": {"kind": "mine"}, "b": {}},
                "receivers": {"c": {"kind": "other"}},
            })
        };
        let mut root = with(json!([{"path": "x.so"}]));
        assert_eq!(take(&mut root, &Registry::new()), ["handlers.a", "receivers.c"]);
        assert_eq!(root["handlers"], json!({"b": {}}));
        assert!(take(&mut with(json!([])), &Registry::new()).is_empty());
    }
}
