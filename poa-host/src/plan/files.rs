//! The files a configuration names, as they were when it was applied.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

/// Keys whose values are files that a plugin reads when it is built.
const KEYS: [&str; 9] = [
    "cert",
    "key",
    "ca",
    "client_ca",
    "credentials",
    "password_file",
    "token_file",
    "sslcert",
    "sslkey",
];

/// The state of each file, by the keys that name it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilesSeen(BTreeMap<Vec<String>, Option<Seen>>);

/// The attributes that differ after a file was replaced or written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl FilesSeen {
    /// Reads the attributes of the files that a document names.
    pub(crate) fn of(written: &Value) -> Self {
        let mut seen = Self::default();
        seen.value(written, &mut Vec::new());
        seen
    }

    /// The keys below `within`, and not below one of `but`, whose files have changed, without the keys that lead to them:
    /// `tls.cert is another file`.
    pub(crate) fn changed(&self, new: &Self, within: &[&str], but: &[&str]) -> Vec<String> {
        let starts = |path: &[String], keys: &[&str]| {
            path.len() >= keys.len() && path.iter().zip(keys).all(|(key, other)| key == other)
        };
        let left_out = |path: &[String]| but.iter().any(|key| starts(path, &[key]));
        let here = new.0.iter().filter(|(path, _)| starts(path, within) && !left_out(path));
        here.filter(|(path, seen)| self.0.get(*path).is_some_and(|before| before != *seen))
            .map(|(path, _)| format!("the file of {} changed", path[within.len()..].join(".")))
            .collect()
    }

    fn value(&mut self, value: &Value, path: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                for (key, entry) in entries {
                    path.push(key.clone());
                    self.value(entry, path);
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.value(item, path);
                    path.pop();
                }
            }
            Value::String(file) if names_file(path) => {
                self.0.insert(path.clone(), look(Path::new(file)));
            }
            _ => {}
        }
    }
}

fn names_file(path: &[String]) -> bool {
    path.last().is_some_and(|key| KEYS.contains(&key.as_str()))
}

/// `None` for a file whose attributes cannot be read.
fn look(file: &Path) -> Option<Seen> {
    let about = std::fs::metadata(file).ok()?;
    Some(Seen { length: about.len(), modified: about.modified().ok(), inode: inode(&about) })
}

#[cfg(unix)]
fn inode(about: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(about)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replaced_file_is_detected_where_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cert = dir.path().join("cert.pem");
        std::fs::write(&cert, "one").unwrap();
        let written = json!({
            "handlers": {"a": {"tls": {"cert": cert, "key": "/nonexistent"}}, "b": {"listen": "x"}},
            "auth": {"admins": [{"password_file": cert}]},
        });
        let before = FilesSeen::of(&written);
        std::fs::write(dir.path().join("new"), "three").unwrap();
        std::fs::rename(dir.path().join("new"), &cert).unwrap();
        let after = FilesSeen::of(&written);
        assert_eq!(
            before.changed(&after, &["handlers", "a"], &[]),
            ["the file of tls.cert changed"]
        );
        assert!(before.changed(&after, &["handlers", "b"], &[]).is_empty());
        let rest = before.changed(&after, &[], &["handlers"]);
        assert_eq!(rest, ["the file of auth.admins.0.password_file changed"]);
        assert!(before.changed(&before, &[], &[]).is_empty());
    }
}
