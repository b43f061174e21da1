//! The differences of two values, by the names of their keys.

use serde_json::Value;

/// The keys that were added, removed or changed: `listen changed`, `tls.cert added`. The order of keys in a table is
/// ignored.
pub(super) fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(old, new, &mut Vec::new(), &mut found);
    found.sort();
    found
}

fn compare(old: &Value, new: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
    let (before, after) = match (old, new) {
        (Value::Object(before), Value::Object(after)) => (before, after),
        (Value::Null, Value::Object(_)) if path.is_empty() => return,
        _ if old == new => return,
        _ => return found.push(format!("{} changed", named(path))),
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    for key in after.keys().chain(gone) {
        path.push(key.clone());
        match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) => compare(old, new, path, found),
            (None, _) => found.push(format!("{} added", named(path))),
            (_, None) => found.push(format!("{} removed", named(path))),
        }
        path.pop();
    }
}

fn named(path: &[String]) -> String {
    if path.is_empty() { "all of it".to_owned() } else { path.join(".") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn names_keys_and_no_values() {
        let old = json!({"a": 1, "t": {"x": "secret", "y": [1]}, "gone": 0, "same": {"z": null}});
        let new = json!({"same": {"z": null}, "t": {"y": [1, 2], "x": "other"}, "a": 1, "more": 2});
        assert_eq!(
            differences(&old, &new),
            ["gone removed", "more added", "t.x changed", "t.y changed"]
        );
        assert!(differences(&old, &old).is_empty());
    }
}
