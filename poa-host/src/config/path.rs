//! The keys that lead to a value.

/// A sequence of keys from the root of the document; the index of an array element is its number.
pub(crate) type KeyPath = Vec<String>;

/// Shows a path as it is written: `handlers."my rest".listen`, `auth.admins[0].name`.
pub(crate) fn show(path: &[String]) -> String {
    let mut text = String::new();
    for key in path {
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            text.push_str(&format!("[{key}]"));
            continue;
        }
        if !text.is_empty() {
            text.push('.');
        }
        let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !key.is_empty() && key.bytes().all(bare) {
            text.push_str(key);
        } else {
            text.push_str(&format!("{key:?}"));
        }
    }
    text
}

/// The keys of a path that a plugin reported, which may write an index as `admins[0]`.
pub(crate) fn normal(path: &[String]) -> KeyPath {
    path.iter()
        .flat_map(|key| key.split('[').map(|part| part.trim_end_matches(']').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str]) -> KeyPath {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn shows_as_written() {
        assert_eq!(show(&path(&["handlers", "my rest", "listen"])), "handlers.\"my rest\".listen");
        assert_eq!(show(&path(&["auth", "admins", "0", "name"])), "auth.admins[0].name");
    }

    #[test]
    fn an_index_is_a_key_of_its_own() {
        assert_eq!(normal(&path(&["admins[0]", "name"])), path(&["admins", "0", "name"]));
    }
}
